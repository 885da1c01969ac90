"""Faults that a test asks for, and the record of every call that came in."""

import hashlib
from collections.abc import Mapping
from threading import Lock
from typing import Literal

import msgspec

SECRET_HEADERS = frozenset({"authorization", "apikey"})
MAX_BODY = 262_144
"""Bodies above this are recorded by size and digest alone."""

CALLS = (
    "storage.put",
    "storage.get",
    "storage.delete",
    "storage.sign",
    "storage.signed",
    "storage.public",
    "storage.bucket",
    "rest.get",
    "rest.patch",
    "job-callback",
    "update-worker-url",
    "register-chat-worker",
    "health-check-workers",
)
"""Every call that the emulator knows, and a fault can name."""


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to the next `times` calls named `call` whose path contains `path`.

    `status` answers so; `hang` never answers; `cut` ends the connection; `lose` answers well, but
    what the call wrote into the configuration is overwritten by what stood there before. With
    `executed` the call has its effect first.
    """

    call: str
    how: Literal["status", "hang", "cut", "lose"] = "status"
    status: int = 500
    body: str = '{"error":"Server misconfigured"}'
    headers: dict[str, str] = {}
    executed: bool = False
    times: int | None = 1
    """None: until the faults are cleared."""
    path: str = ""


class Call(msgspec.Struct, kw_only=True):
    """One call as it came in; keys are known by their digest alone."""

    name: str
    method: str
    path: str
    """With the query."""
    headers: dict[str, str]
    size: int
    sha256: str
    body: bytes
    at: float
    """When it came in, wall-clock seconds."""
    status: int | None = None
    """What was answered; None when nothing was."""
    executed: bool = False


class Faults:
    """The faults that are still to come. Safe to use from any thread."""

    def __init__(self) -> None:
        """Everything works."""
        self._lock = Lock()
        self._waiting: list[tuple[Fault, int | None]] = []

    def add(self, fault: Fault) -> None:
        """Let `fault` happen, after those that were added before."""
        assert fault.call in CALLS, fault.call
        with self._lock:
            self._waiting.append((fault, fault.times))

    def clear(self) -> None:
        """Let everything work again."""
        with self._lock:
            self._waiting.clear()

    def take(self, call: str, path: str) -> Fault | None:
        """The fault of this call, counted; None when it is to work."""
        with self._lock:
            for place, (fault, left) in enumerate(self._waiting):
                if fault.call != call or fault.path not in path:
                    continue
                if left is not None and left <= 1:
                    del self._waiting[place]
                else:
                    self._waiting[place] = (fault, None if left is None else left - 1)
                return fault
        return None


def digest(secret: str) -> str:
    """How a key appears in a record."""
    return f"sha256:{hashlib.sha256(secret.encode()).hexdigest()[:16]}"


def seen_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers by lower-case name, keys replaced by their digests (of `Bearer …` as a whole)."""
    return {
        name.lower(): digest(value) if name.lower() in SECRET_HEADERS else value
        for name, value in headers.items()
    }
