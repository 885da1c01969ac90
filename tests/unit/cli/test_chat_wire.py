"""One connection: what is sent, where a reply ends, and what happens when the other side leaves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ourvidz_worker.cli.chat_wire import ChatConnection, Target
from ourvidz_worker.domain.errors import Unavailable
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

CHUNKED = (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n")
SIZED = (b"HTTP/1.1 503 No\r\nContent-Length: 5\r\n\r\nab", b"cde")

Play = Callable[[asyncio.StreamWriter], object]


@asynccontextmanager
async def answering(*replies: tuple[bytes, ...]) -> AsyncIterator[tuple[Target, list[bytes]]]:
    """A server that answers one request after another, and leaves after the last."""
    heard: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for reply in replies:
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
            heard.append(head + await reader.readexactly(length))
            for part in reply:
                writer.write(part)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield Target.of(f"http://127.0.0.1:{port}/pod/", "k"), heard
    server.close()
    await server.wait_closed()


def test_an_address_is_taken_apart() -> None:
    assert Target.of("https://pod-7861.proxy.example") == Target(
        "pod-7861.proxy.example", 443, is_secure=True, path="", key=""
    )
    assert Target.of("http://127.0.0.1:7860/", "k")[1:] == (7860, False, "", "k")


@pytest.mark.parametrize("reply", [CHUNKED, SIZED])
async def test_a_reply_ends_where_it_says(reply: tuple[bytes, ...]) -> None:
    async with answering(reply, CHUNKED) as (target, heard):
        clock = FakeClock()
        connection = await ChatConnection.connect(target, clock)
        request = target.request("/v1/x", b"{}")
        first = await connection.ask(request)
        assert b"".join(arrival.data for arrival in first) == b"".join(reply)
        assert connection.asked_at == clock.monotonic()
        assert connection.heard == len(first)
        assert b"".join(a.data for a in await connection.ask(request)) == b"".join(CHUNKED)
        connection.close()
    assert heard == [request, request]
    assert request.startswith(b"POST /pod/v1/x HTTP/1.1\r\n")
    assert b"\r\nAuthorization: Bearer k\r\n" in request


async def test_a_side_that_leaves_early_is_an_error_not_an_answer() -> None:
    async with answering((CHUNKED[0], b"3\r\nab")) as (target, _):
        connection = await ChatConnection.connect(target, FakeClock())
        with pytest.raises(ConnectionError):
            await connection.ask(target.request("/v1/x", b"{}"))
        assert not connection.is_open
        with pytest.raises(ConnectionError):
            await connection.ask(b"")
    with pytest.raises(Unavailable):
        await ChatConnection.connect(target, FakeClock())
