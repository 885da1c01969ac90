"""Event streams: frames, comments when it is quiet, and what happens when either side leaves."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message

from ourvidz_worker.api.sse import COMMENT, KEEP_ALIVE_S, EventStream, frame
from ourvidz_worker.domain.errors import OurvidzError, OutOfMemory
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


class Wire:
    """Both ends of a connection."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.left = asyncio.Event()

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def body(self) -> bytes:
        """All bytes sent so far."""
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def starts(self) -> list[int]:
        """The status of each reply begun."""
        return [message["status"] for message in self.sent if "status" in message]

    @property
    def is_over(self) -> bool:
        """True when the reply was ended."""
        return self.sent[-1].get("more_body") is False


class Frames:
    """Frames for a stream, each let through by the test."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[bytes | OurvidzError | None] = asyncio.Queue()
        self.closed = False

    async def __call__(self) -> AsyncIterator[bytes]:
        try:
            while (item := await self.queue.get()) is not None:
                if isinstance(item, OurvidzError):
                    raise item
                yield item
        finally:
            self.closed = True


class Running:
    """A stream at work."""

    def __init__(self, *, eager: bool = False) -> None:
        self.wire, self.frames, self.clock = Wire(), Frames(), FakeClock()
        stream = EventStream(self.frames(), self.clock, request_id="an-id", eager=eager)
        self.task = asyncio.ensure_future(stream({}, self.wire.receive, self.wire.send))

    async def put(self, *items: bytes | OurvidzError | None) -> None:
        """Let these through."""
        for item in items:
            self.frames.queue.put_nowait(item)
        await self.clock.advance(0)


def test_a_frame_is_an_event() -> None:
    assert frame("token", b'{"a":1}') == b'event: token\ndata: {"a":1}\n\n'
    assert frame("done", b"{}", number=7) == b"id: 7\nevent: done\ndata: {}\n\n"


async def test_frames_go_out_as_they_come() -> None:
    stream = Running()
    await stream.put()
    assert stream.wire.sent == []
    await stream.put(b"one")
    assert (stream.wire.starts, stream.wire.body) == ([200], b"one")
    assert (b"content-type", b"text/event-stream; charset=utf-8") in stream.wire.sent[0]["headers"]
    await stream.put(b"two", None)
    await stream.task
    assert (stream.wire.body, stream.wire.is_over) == (b"onetwo", True)


async def test_an_eager_stream_opens_before_anything_happens() -> None:
    stream = Running(eager=True)
    await stream.put()
    assert (stream.wire.starts, stream.wire.body) == ([200], b"")
    await stream.put(None)
    await stream.task
    assert stream.wire.is_over


async def test_a_stream_without_frames_is_an_empty_reply() -> None:
    stream = Running()
    await stream.put(None)
    await stream.task
    assert (stream.wire.starts, stream.wire.body, stream.wire.is_over) == ([200], b"", True)


async def test_a_quiet_stream_is_kept_alive() -> None:
    stream = Running()
    await stream.put(b"one")
    await stream.clock.advance(KEEP_ALIVE_S)
    assert stream.wire.body == b"one" + COMMENT
    await stream.clock.advance(2 * KEEP_ALIVE_S)
    assert stream.wire.body == b"one" + 3 * COMMENT
    await stream.put(None)
    await stream.task
    assert stream.clock.sleepers() == 0


async def test_a_caller_who_leaves_closes_the_frames() -> None:
    stream = Running()
    await stream.put(b"one")
    stream.wire.left.set()
    await stream.task
    assert stream.frames.closed


async def test_a_caller_who_leaves_before_the_first_frame_is_sent_nothing() -> None:
    stream = Running()
    await stream.put()
    stream.wire.left.set()
    await stream.task
    assert (stream.frames.closed, stream.wire.sent) == (True, [])


async def test_an_error_before_the_first_frame_is_an_ordinary_reply() -> None:
    stream = Running()
    await stream.put(OutOfMemory())
    with pytest.raises(OutOfMemory):
        await stream.task
    assert (stream.frames.closed, stream.wire.sent) == (True, [])


async def test_an_error_after_it_is_the_last_event() -> None:
    stream = Running()
    await stream.put(b"one", OutOfMemory())
    await stream.task
    assert stream.wire.body.startswith(b'oneevent: failed\ndata: {"type":"urn:ourvidz:problem:oom')
    assert b'"request_id":"an-id"' in stream.wire.body
    assert (stream.frames.closed, stream.wire.is_over) == (True, True)


async def test_a_server_that_stops_closes_the_frames() -> None:
    stream = Running(eager=True)
    await stream.put(b"one")
    stream.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stream.task
    assert stream.frames.closed
