"""Fetching by URL from a real local server: bounded, never redirected, dialled as checked."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import httpcore
import pytest

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.references.dial import GuardedBackend, resolve_by_system
from ourvidz_worker.references.fetch import TIMEOUT_S, UrlFetcher
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

Answer = Callable[[bytes], bytes | None]
"""The request's head to the whole reply; None keeps the caller waiting."""


def reply(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", *headers]
    if not any(line.lower().startswith("content-length") for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Server:
    """Answers each request with the next of its answers; the last one is repeated."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.heads: list[bytes] = []
        self.waiting = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.heads.append(await reader.readuntil(b"\r\n\r\n"))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is None:
            self.waiting.set()
            await reader.read()
        else:
            writer.write(answer)
        writer.close()


@asynccontextmanager
async def running(server: Server) -> AsyncIterator[str]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    async with listening:
        yield f"http://localhost:{port}"


@asynccontextmanager
async def fetching(home: str | None = None, **options: object) -> AsyncIterator[UrlFetcher]:
    settings: dict[str, object] = {"clock": FakeClock(), "max_bytes": 1000, "jitter": lambda: 0.0}
    fetcher = UrlFetcher(home=home, **(settings | options))  # type: ignore[arg-type]
    try:
        yield fetcher
    finally:
        await fetcher.close()


async def reason_of(fetcher: UrlFetcher, url: str) -> str:
    with pytest.raises(BadReference) as caught:
        await fetcher.fetch(url)
    return caught.value.reason


async def to_loopback(_host: str, _port: int) -> Sequence[str]:
    return ["127.0.0.1"]


async def test_the_bytes_behind_a_url() -> None:
    server = Server(reply(200, b"picture"))
    async with running(server) as home, fetching(home, resolve=to_loopback) as fetcher:
        assert await fetcher.fetch(f"{home}/a%20b.png?token=t") == b"picture"
    (head,) = server.heads
    assert head.startswith(b"GET /a%20b.png?token=t HTTP/1.1\r\n")
    assert b"Host: localhost:" in head
    assert b"Accept-Encoding: identity" in head
    assert b"uthorization" not in head


@pytest.mark.parametrize(
    ("answer", "path", "reason"),
    [
        (reply(301, b"", "Location: http://169.254.169.254/"), "/a", "REFERENCE_URL_BLOCKED"),
        (reply(307, b"", "Location: /b"), "/a", "REFERENCE_URL_BLOCKED"),
        (reply(404), "/a", "REFERENCE_NOT_FOUND"),
        (reply(410), "/a", "REFERENCE_NOT_FOUND"),
        (reply(400), "/a?token=t", "REFERENCE_EXPIRED"),
        (reply(403), "/a?token=t", "REFERENCE_EXPIRED"),
        (reply(403), "/a", "REFERENCE_NOT_FOUND"),
        (reply(204), "/a", "REFERENCE_NOT_FOUND"),
        (reply(200, b"x", "Content-Encoding: gzip"), "/a", "REFERENCE_NOT_AN_IMAGE"),
        (reply(200, b"x" * 1001), "/a", "REFERENCE_TOO_LARGE"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024,
            "/a",
            "REFERENCE_TOO_LARGE",
        ),
    ],
)
async def test_an_answer_is_told_as_a_reason_and_no_more(
    answer: bytes, path: str, reason: str
) -> None:
    server = Server(answer)
    async with running(server) as home, fetching(home, resolve=to_loopback) as fetcher:
        assert await reason_of(fetcher, f"{home}{path}") == reason
    assert len(server.heads) == 1


@pytest.mark.parametrize(
    "bad",
    [
        reply(500),
        reply(503),
        reply(429),
        b"",
        b"nonsense\r\n\r\n",
        reply(200, b"short", "Content-Length: 500"),
    ],
)
async def test_a_passing_fault_is_tried_three_times(bad: bytes) -> None:
    clock = FakeClock()
    server = Server(bad, bad, reply(200, b"picture"))
    async with running(server) as home, fetching(home, resolve=to_loopback, clock=clock) as fetcher:
        task = asyncio.create_task(fetcher.fetch(f"{home}/a"))
        await sleeping(clock, task, 2)
        await clock.advance(1)
        await sleeping(clock, task, 2)
        await clock.advance(2)
        assert await task == b"picture"
    assert len(server.heads) == 3


async def test_a_lasting_fault_ends_as_one_that_may_be_tried_later() -> None:
    clock = FakeClock()
    server = Server(reply(500))
    async with running(server) as home, fetching(home, resolve=to_loopback, clock=clock) as fetcher:
        task = asyncio.create_task(fetcher.fetch(f"{home}/a"))
        for _ in range(2):
            await sleeping(clock, task, 2)
            await clock.advance(4)
        with pytest.raises(BadReference) as caught:
            await task
    assert caught.value.reason == "REFERENCE_TIMEOUT"
    assert caught.value.may_retry
    assert len(server.heads) == 3


async def test_a_server_that_keeps_us_waiting_is_left() -> None:
    clock = FakeClock()
    server = Server(None)
    async with running(server) as home, fetching(home, resolve=to_loopback, clock=clock) as fetcher:
        task = asyncio.create_task(reason_of(fetcher, f"{home}/a"))
        await server.waiting.wait()
        await clock.advance(TIMEOUT_S)
        assert await task == "REFERENCE_TIMEOUT"


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["169.254.169.254"],
        ["8.8.8.8", "127.0.0.1"],
        ["::ffff:127.0.0.1"],
        ["fe80::1%eth0"],
        ["not an address"],
    ],
)
async def test_a_name_that_leads_inside_is_never_dialled(addresses: list[str]) -> None:
    asked = []

    async def resolve(host: str, port: int) -> Sequence[str]:
        asked.append((host, port))
        return addresses

    async with fetching(allowed_hosts=["Pictures.example"], resolve=resolve) as fetcher:
        url = "https://pictures.example/a.png"
        assert await reason_of(fetcher, url) == "REFERENCE_URL_BLOCKED"
    assert asked == [("pictures.example", 443)]


async def test_no_host_is_allowed_by_default() -> None:
    async with fetching() as fetcher:
        assert await reason_of(fetcher, "https://pictures.example/a") == "REFERENCE_URL_BLOCKED"


class Recorder(httpcore.AsyncNetworkBackend):
    """Notes what would be dialled; only `answering` addresses answer."""

    def __init__(self, *answering: str) -> None:
        self.answering = answering
        self.dialled: list[str] = []

    async def connect_tcp(self, host: str, *_args: object, **_options: object) -> "Stream":
        self.dialled.append(host)
        if host not in self.answering:
            raise httpcore.ConnectError
        return Stream()


class Stream(httpcore.AsyncNetworkStream):
    """A connection that nobody uses."""


async def test_the_checked_literal_is_dialled_and_the_name_is_resolved_once() -> None:
    answers = iter([["8.8.8.8", "9.9.9.9"], ["127.0.0.1"]])

    async def resolve(_host: str, _port: int) -> Sequence[str]:
        return next(answers)

    inner = Recorder("9.9.9.9")
    backend = GuardedBackend(resolve=resolve, inner=inner)
    assert isinstance(await backend.connect_tcp("pictures.example", 443), Stream)
    assert inner.dialled == ["8.8.8.8", "9.9.9.9"]
    with pytest.raises(BadReference):
        await backend.connect_tcp("pictures.example", 443)
    assert inner.dialled == ["8.8.8.8", "9.9.9.9"]


async def test_a_name_without_an_address_is_a_network_fault() -> None:
    async def unknown(_host: str, _port: int) -> Sequence[str]:
        raise socket.gaierror

    async def nothing(_host: str, _port: int) -> Sequence[str]:
        return []

    for resolve in (unknown, nothing):
        with pytest.raises(httpcore.ConnectError):
            await GuardedBackend(resolve=resolve, inner=Recorder()).connect_tcp("a.example", 443)


async def test_no_socket_file_is_ever_opened() -> None:
    with pytest.raises(BadReference):
        await GuardedBackend().connect_unix_socket("/run/docker.sock")


async def test_the_systems_resolver_gives_literals() -> None:
    assert set(await resolve_by_system("localhost", 80)) <= {"127.0.0.1", "::1"}
    assert await resolve_by_system("localhost", 80)


async def sleeping(clock: FakeClock, task: "asyncio.Task[bytes]", count: int) -> None:
    """Wait, on real input and output, until so many sleep on the clock."""
    while clock.sleepers() < count and not task.done():
        await asyncio.wait({task}, timeout=0.001)
