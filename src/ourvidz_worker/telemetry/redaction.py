"""Redaction: what no log line may hold, taken out of every record at one place (O-8, H-4).

Keys and signed addresses are recognised by their form, and the pod's own keys by what they are.
Prompts and users never come here as text: whoever logs them logs lengths and digests.
"""

import hashlib
import logging
import re
from collections.abc import Mapping, Sequence

HIDDEN = "[hidden]"

SHORTEST_SECRET = 8
"""A shorter configured key would blank out ordinary words."""

DIGEST_CHARS = 12

_SENSITIVE = re.compile(
    r"authorization|api[_-]?key|signature|secret|token|password|cookie", re.IGNORECASE
)
#: Fields that have such a word in their name and hold no secret.
_HARMLESS = frozenset({"tokens", "max_tokens", "prompt_tokens", "tokens_generated"})

_FORMS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A signed address: what follows its path lets anybody in.
    (re.compile(r"(https?://[^\s\"'<>?]*)\?[^\s\"'<>]*"), rf"\1?{HIDDEN}"),
    (re.compile(r"(\w+://)[^\s/\"'@]+@"), rf"\1{HIDDEN}@"),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), rf"\1 {HIDDEN}"),
    (
        re.compile(
            r"(?i)(authorization|apikey|api_key|x-callback-signature|webhook-signature|cookie"
            r"|token|secret|password)([\"']?\s*[:=]\s*[\"']?)(?!\[hidden\])(?!bearer |basic )"
            r"[^\s\"',;&}]+"
        ),
        rf"\1\2{HIDDEN}",
    ),
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]*"), HIDDEN),
    (re.compile(r"\bwhsec_[\w+/=-]+"), HIDDEN),
    (re.compile(r"\bhf_\w{16,}"), HIDDEN),
)


#: In lower case, one of them in every text that a form fits.
_MARKS = (
    "://",
    "bearer",
    "basic",
    "authorization",
    "apikey",
    "api_key",
    "signature",
    "cookie",
    "token",
    "secret",
    "password",
    "eyj",
    "whsec_",
    "hf_",
)


class Redaction(logging.Filter):
    """Lets every record pass, without what must not be in it."""

    def __init__(self, secrets: Sequence[str] = ()) -> None:
        """`secrets` are the process's own keys, wherever they might turn up."""
        super().__init__()
        known = sorted({one for one in secrets if len(one) >= SHORTEST_SECRET}, key=len)
        self._secrets = tuple(reversed(known))

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the message, every field of its own, and the text of an exception."""
        record.msg, record.args = self.clean(record.getMessage()), None
        for key, value in vars(record).items():
            if key not in _OWN:
                setattr(record, key, self._field(key, value))
        if record.exc_info:
            text = record.exc_text or logging.Formatter().formatException(record.exc_info)
            record.exc_text = self.clean(text)
        return True

    def clean(self, text: str) -> str:
        """`text` without keys and signatures."""
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        if not _is_suspect(text):
            return text
        for form, instead in _FORMS:
            text = form.sub(instead, text)
        return text

    def _field(self, key: str, value: object) -> object:
        if isinstance(value, str | bytes | Mapping | list | tuple) and _is_sensitive(key):
            return HIDDEN
        if isinstance(value, bytes):
            return self.clean(value.decode(errors="replace"))
        if isinstance(value, str):
            return self.clean(value)
        if isinstance(value, Mapping):
            return {name: self._field(str(name), one) for name, one in value.items()}
        if isinstance(value, list | tuple):
            return [self._field("", one) for one in value]
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.clean(str(value))


_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


def prompt_fields(text: str, *, whole: bool = False) -> dict[str, object]:
    """What may be logged of a prompt: its length and digest; `whole` adds the text itself."""
    fields: dict[str, object] = {
        "prompt_chars": len(text),
        "prompt_sha256": hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(),
    }
    return fields | ({"prompt": text} if whole else {})


def user_digest(user_id: str) -> str:
    """What may be logged of a user: enough to tell users apart."""
    return hashlib.sha256(user_id.encode()).hexdigest()[:DIGEST_CHARS]


def _is_suspect(text: str) -> bool:
    """A quick look that spares most texts the forms.

    Each form has a mark, and a sign besides letters, digits and hyphens; letters beyond ASCII
    fold in odd ways.
    """
    if text.replace("-", "").isalnum():
        return False
    lowered = text.lower()
    return not text.isascii() or any(mark in lowered for mark in _MARKS)


def _is_sensitive(key: str) -> bool:
    return key not in _HARMLESS and _SENSITIVE.search(key) is not None
