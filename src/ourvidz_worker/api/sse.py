"""Server-sent events: frames as they come, a comment when it is quiet, an end when either leaves.

Format: HTML standard, server-sent events. An error before the first frame is an ordinary reply;
after it, it is told as the last event.
"""

import asyncio
from collections.abc import AsyncIterator

import msgspec
from starlette.types import Receive, Scope, Send

from ourvidz_worker.api.patience import closing, departure, unless
from ourvidz_worker.api.problems import problem_of
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import OurvidzError

KEEP_ALIVE_S = 15.0
"""Proxies cut a silent connection at 100 s (H-1), some at 30."""

COMMENT = b": keep-alive\n\n"

HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
)


def frame(event: str, data: bytes, *, number: int | None = None) -> bytes:
    """One event; `data` is JSON on one line."""
    name = b"" if number is None else b"id: %d\n" % number
    return b"%sevent: %s\ndata: %s\n\n" % (name, event.encode(), data)


def data_frame(data: bytes) -> bytes:
    """One event without a name; `data` is on one line."""
    return b"data: %s\n\n" % data


class EventStream:
    """A reply of frames, an ASGI application of its own.

    It ends with the last frame or when the caller leaves; `frames` is closed on every path.
    `eager` opens the reply at once instead of with the first frame.
    """

    def __init__(
        self, frames: AsyncIterator[bytes], clock: Clock, *, request_id: str, eager: bool = False
    ) -> None:
        """Nothing runs before the reply is sent."""
        self._frames = frames
        self._clock = clock
        self._request_id = request_id
        self._eager = eager
        self._opened = False
        self._opening = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the reply. Raises what `frames` raises before the first of them."""
        try:
            if self._eager:
                await self._send(send)
            await unless(self._pump(send), departure(receive), self._keep_alive(send))
        except OurvidzError as error:
            if not self._opened:
                raise
            problem = msgspec.json.encode(problem_of(error, self._request_id))
            await self._send(send, frame("failed", problem))
        if self._opened:
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _pump(self, send: Send) -> None:
        async with closing(self._frames) as frames:
            async for piece in frames:
                await self._send(send, piece)
        await self._send(send)

    async def _keep_alive(self, send: Send) -> None:
        while True:
            await self._clock.sleep(KEEP_ALIVE_S)
            await self._send(send, COMMENT)

    async def _send(self, send: Send, piece: bytes | None = None) -> None:
        """Open the reply if it is not, then send the piece, which no other can break up."""
        if not self._opened:
            await self._open(send)
        if piece is not None:
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _open(self, send: Send) -> None:
        async with self._opening:
            if not self._opened:
                await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS]})
                self._opened = True
