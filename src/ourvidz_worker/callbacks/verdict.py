"""What the answer to a callback means (contract K-11)."""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime

import msgspec

SUCCESS = range(200, 300)
REDIRECTS = range(300, 400)
REFUSED = frozenset({401, 403})
NOT_FOUND = 404
TRY_AGAIN = frozenset({408, 425, 429}) | frozenset(range(500, 600))

NOT_FOUND_TRIES = 3
"""A row that the client has not written yet appears within three tries, or never."""

MAX_WAIT_S = 3600.0
"""`Retry-After` is honoured up to this."""


class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """Accepted. `skipped` means that the client has no use for it: the job may be cancelled."""

    skipped: bool = False


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Not now. `after_s` is what the receiver asked for; `at_most` bounds the tries."""

    error: str
    after_s: float = 0.0
    at_most: int | None = None


class Parked(msgspec.Struct, frozen=True, kw_only=True):
    """Our keys are refused: a fault of the configuration, tried again seldom."""

    error: str


class Final(msgspec.Struct, frozen=True, kw_only=True):
    """Refused for good."""

    reason: str


Verdict = Delivered | Retry | Parked | Final


def judge_reply(status: int, headers: Mapping[str, str], body: bytes, *, now: float) -> Verdict:
    """The verdict on a reply; `headers` has lower-case names, `now` is wall-clock seconds."""
    if status in SUCCESS:
        return Delivered(skipped=_is_skipped(body))
    error = f"status {status}"
    if status in REFUSED:
        return Parked(error=error)
    if status == NOT_FOUND:
        return Retry(error=error, at_most=NOT_FOUND_TRIES)
    if status in TRY_AGAIN or status in REDIRECTS:
        return Retry(error=error, after_s=retry_after(headers.get("retry-after", ""), now=now))
    return Final(reason=error)


def retry_after(text: str, *, now: float) -> float:
    """Seconds that a `Retry-After` asks for, 0 for none or nonsense, at most `MAX_WAIT_S`."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), MAX_WAIT_S)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    moment = date if date.tzinfo else date.replace(tzinfo=UTC)
    return min(max(0.0, moment.timestamp() - now), MAX_WAIT_S)


class _Reply(msgspec.Struct):
    skipped: bool = False


def _is_skipped(body: bytes) -> bool:
    try:
        return msgspec.json.decode(body, type=_Reply).skipped
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return False
