"""Identifiers that callers choose: jobs and users (contract 3.3)."""

import re

ID_RULE = "1 to 128 letters, digits, '.', '_' or '-', beginning with a letter or digit, no '..'"

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_id(text: str) -> bool:
    """True when `text` may name a job or a user, and so a folder of the storage."""
    return _ID.fullmatch(text) is not None and ".." not in text
