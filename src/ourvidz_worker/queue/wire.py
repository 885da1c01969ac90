"""A way to the server that keeps the application's lists: what each transport must offer."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from ourvidz_worker.queue.scripts import Script

Argument = str | bytes | int | float

OLDEST = (6, 2)
"""The oldest server with everything the scripts use."""

REQUEST_TIMEOUT_S = 10.0
"""How long one step may take (Q-2)."""


class Wire(Protocol):
    """One server, reached in one way. Every fault is `QueueUnavailable`; nothing is repeated."""

    can_block: bool
    """True when `wait_for` works: it needs a command that blocks."""

    async def open(self) -> Mapping[str, str]:
        """Connect and return what the server says of itself, by the names of `INFO`.

        Raises `ConfigError` for an address or a key that cannot be right.
        """
        ...

    async def close(self) -> None:
        """End every connection."""
        ...

    async def evaluate(self, script: Script, arguments: Sequence[bytes]) -> Any:  # noqa: ANN401
        """Run a step; its reply in bytes, integers and lists of them."""
        ...

    async def wait_for(self, listed: str, seconds: int) -> bytes | None:
        """Wait until a list has an element, at most `seconds`: its first, which stays there."""
        ...


def to_bytes(argument: Argument) -> bytes:
    """An argument as it travels."""
    if isinstance(argument, bytes):
        return argument
    return argument.encode() if isinstance(argument, str) else repr(argument).encode()


def optional(body: bytes | None) -> bytes:
    """A text that may be missing, as the scripts take it: empty for none, else `=text`."""
    return b"" if body is None else b"=" + body
