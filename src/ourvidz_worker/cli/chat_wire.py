"""One connection that asks for streamed chat completions and notes when each byte came.

It reads nothing while an answer comes but where it ends: so that one process keeps up with ten
thousand pieces a second, and measures the pod, not itself. `chat_answers` reads it afterwards.
"""

import asyncio
import ssl
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import urlsplit

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import Unavailable

LINE_END = b"\r\n"
HEAD_END = b"\r\n\r\n"
LAST_CHUNK = b"\r\n0\r\n\r\n"
"""How a chunked body ends (RFC 9112, 7.1); JSON on one line holds no such line break."""

SECURE = {"https": 443, "http": 80}


class Arrival(NamedTuple):
    """Bytes, and when they came (monotonic seconds)."""

    at: float
    data: bytes


class Exchange(NamedTuple):
    """A request and all that came back; `failure` is empty for a whole reply."""

    asked_at: float
    arrivals: Sequence[Arrival]
    failure: str = ""


class Target(NamedTuple):
    """Where to ask: host, port, whether through TLS, the path before the route, and the key."""

    host: str
    port: int
    is_secure: bool
    path: str
    key: str

    @classmethod
    def of(cls, url: str, key: str = "") -> "Target":
        """The parts of a pod's address."""
        parts = urlsplit(url)
        port = parts.port or SECURE.get(parts.scheme, SECURE["http"])
        path = parts.path.rstrip("/")
        return cls(parts.hostname or "127.0.0.1", port, parts.scheme == "https", path, key)

    def request(self, route: str, body: bytes) -> bytes:
        """A POST of JSON to `route`, as it goes over the wire."""
        lines = [
            f"POST {self.path}{route} HTTP/1.1",
            f"Host: {self.host}:{self.port}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        ]
        if self.key:
            lines.append(f"Authorization: Bearer {self.key}")
        return "\r\n".join([*lines, "", ""]).encode() + body


class ChatConnection(asyncio.Protocol):
    """A kept connection; one question at a time."""

    def __init__(self, clock: Clock) -> None:
        """Not connected yet: see `connect`."""
        self.asked_at = 0.0
        """When the last question was sent (monotonic seconds)."""
        self._clock = clock
        self._transport: asyncio.Transport | None = None
        self._arrivals: list[Arrival] = []
        self._tail = b""
        self._has_head = False
        self._left: int | None = None
        self._whole: asyncio.Future[list[Arrival]] | None = None

    @classmethod
    async def connect(cls, target: Target, clock: Clock) -> "ChatConnection":
        """A connection to the target. Raises `Unavailable` where nobody answers."""
        context = ssl.create_default_context() if target.is_secure else None
        try:
            _, connection = await asyncio.get_running_loop().create_connection(
                lambda: cls(clock), target.host, target.port, ssl=context
            )
        except OSError as error:
            raise Unavailable("The pod cannot be reached.") from error
        return connection

    @property
    def is_open(self) -> bool:
        """False once either side has closed it."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def heard(self) -> int:
        """How often bytes of the present reply have come."""
        return len(self._arrivals)

    async def ask(self, request: bytes) -> list[Arrival]:
        """Send a request; everything that came until its reply was whole.

        Raises `ConnectionError` when the other side leaves before.
        """
        if self._transport is None or not self.is_open:
            raise ConnectionError("the connection is closed")
        self._arrivals, self._tail, self._has_head = [], b"", False
        self._whole = asyncio.get_running_loop().create_future()
        self.asked_at = self._clock.monotonic()
        self._transport.write(request)
        return await self._whole

    def close(self) -> None:
        """Leave; a reply on its way is abandoned."""
        if self._transport is not None:
            self._transport.close()

    # ---- called by the loop -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The loop's: connected."""
        if not isinstance(transport, asyncio.Transport):
            raise TypeError("not a stream")
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """The loop's: bytes came."""
        self._arrivals.append(Arrival(self._clock.monotonic(), data))
        if self._whole is not None and not self._whole.done() and self._ends_with(data):
            self._whole.set_result(self._arrivals)

    def connection_lost(self, exc: Exception | None) -> None:
        """The loop's: the other side left, or we did."""
        self._transport = None
        if self._whole is not None and not self._whole.done():
            self._whole.set_exception(ConnectionError("the pod closed the connection"))

    def _ends_with(self, data: bytes) -> bool:
        """True when `data` is the last of the reply: by its length, or by its last chunk."""
        if not self._has_head:
            self._tail += data
            head, end, data = self._tail.partition(HEAD_END)
            if not end:
                return False
            self._has_head, self._left = True, _length(head)
            self._tail = LINE_END
        if self._left is not None:
            self._left -= len(data)
            return self._left <= 0
        self._tail = (self._tail + data)[-len(LAST_CHUNK) :]
        return self._tail == LAST_CHUNK


def _length(head: bytes) -> int | None:
    """The length that a head declares; None for a chunked body."""
    for line in head.lower().split(LINE_END):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    return None
