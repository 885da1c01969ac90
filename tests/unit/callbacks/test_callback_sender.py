"""Sending once: what goes over the wire, and that every fault is a verdict (contract 7.1)."""

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import msgspec
import pytest

from ourvidz_worker.callbacks import Signer
from ourvidz_worker.callbacks.sender import MAX_REPLY_BYTES, TIMEOUT_S, CallbackSender
from ourvidz_worker.callbacks.verdict import Delivered, Final, Parked, Retry
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

URL = "https://application.example/functions/v1/job-callback"


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A callback owed."""

    id: int = 1
    job_id: str = "j1"
    status: str = "completed"
    body: bytes = '{"job_id":"j1","text":"é"}'.encode()
    tries: int = 0
    created_at: float = 0.0


@asynccontextmanager
async def sending(
    answer: Callable[[httpx.Request], httpx.Response], signer: Signer | None = None
) -> AsyncIterator[CallbackSender]:
    transport = httpx.MockTransport(answer)
    sender = CallbackSender(URL, signer or Signer(), FakeClock(), transport=transport)
    try:
        yield sender
    finally:
        await sender.close()


async def test_the_exact_bytes_are_posted_and_signed() -> None:
    requests = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json={"success": True, "skipped": True})

    signer = Signer(callback_secret="s", service_key="k")
    async with sending(answer, signer) as sender:
        assert await sender.send(Row()) == Delivered(skipped=True)
    (request,) = requests
    assert (request.method, str(request.url)) == ("POST", URL)
    assert request.content == Row().body
    digest = hmac.new(b"s", Row().body, hashlib.sha256).hexdigest()
    assert request.headers["x-callback-signature"] == f"sha256={digest}"
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["idempotency-key"] == "j1:completed"
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("status", "kind"), [(204, Delivered), (401, Parked), (404, Retry), (422, Final), (503, Retry)]
)
async def test_the_answer_decides(status: int, kind: type) -> None:
    async with sending(lambda _: httpx.Response(status)) as sender:
        assert type(await sender.send(Row())) is kind


async def test_a_redirect_is_not_followed() -> None:
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(str(request.url))
        return httpx.Response(307, headers={"Location": "https://elsewhere.example/"})

    async with sending(answer) as sender:
        assert await sender.send(Row()) == Retry(error="status 307")
    assert asked == [URL]


@pytest.mark.parametrize(
    "fault",
    [
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        httpx.RemoteProtocolError("nonsense"),
        httpx.ReadError("cut"),
    ],
)
async def test_a_network_fault_is_a_verdict(fault: httpx.TransportError) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        raise fault

    async with sending(answer) as sender:
        assert await sender.send(Row()) == Retry(error=type(fault).__name__)


async def test_of_an_endless_answer_only_the_beginning_is_read() -> None:
    given = []

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            given.append(1)
            yield b"x" * 1024

    async with sending(lambda _: httpx.Response(200, content=pieces())) as sender:
        assert await sender.send(Row()) == Delivered()
    assert len(given) <= MAX_REPLY_BYTES // 1024 + 1


async def test_an_answer_that_never_ends_is_left() -> None:
    clock = FakeClock()
    begun = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        begun.set()
        await asyncio.Event().wait()
        yield b""

    transport = httpx.MockTransport(lambda _: httpx.Response(200, content=pieces()))
    sender = CallbackSender(URL, Signer(), clock, transport=transport)
    task = asyncio.create_task(sender.send(Row()))
    await begun.wait()
    await clock.advance(TIMEOUT_S)
    assert await task == Retry(error="no answer in time")
    await sender.close()


async def test_the_environments_proxy_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    heard = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        heard.append(head + await reader.readexactly(len(Row().body)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 16\r\n\r\n" + b'{"success":true}')
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        sender = CallbackSender(f"http://127.0.0.1:{port}/hook", Signer(), FakeClock())
        assert await sender.send(Row()) == Delivered()
        await sender.close()
    (request,) = heard
    assert request.startswith(b"POST /hook HTTP/1.1\r\n")
    assert request.endswith(Row().body)


async def test_nobody_listening_is_a_verdict() -> None:
    async with await asyncio.start_server(lambda *_: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    sender = CallbackSender(f"http://127.0.0.1:{port}/hook", Signer(), FakeClock())
    assert await sender.send(Row()) == Retry(error="ConnectError")
    await sender.close()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "application.example",
        "ftp://a.example",
        "http://",
        "http://a.example:port/",
        f"http://{'a' * 64}.example/",
    ],
)
def test_a_wrong_address_stops_the_start(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        CallbackSender(url, Signer(), FakeClock())
    assert caught.value.field == "CALLBACK_URL"
