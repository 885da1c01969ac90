"""Streams over a real server: events as they happen, and callers who leave (T-8)."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn

from ourvidz_worker.api.border import Border
from ourvidz_worker.api.sse import KEEP_ALIVE_S
from ourvidz_worker.domain.event import EventKind, JobEvent
from ourvidz_worker.domain.job import Status
from ourvidz_worker.testing.desks import KEYS, FakePod

pytestmark = pytest.mark.anyio

JOB = {"type": "sdxl_image_fast", "user_id": "u", "prompt": "an apple"}
CHAT = {"messages": [{"role": "user", "content": "hello"}]}
PATIENCE_S = 20.0
"""Real time that a broken test may take; a good one takes none."""


@asynccontextmanager
async def serving(app: Border) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a real server on a free port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False)
        server = uvicorn.Server(config)
        running = asyncio.ensure_future(server.serve(sockets=[listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        headers = {"Authorization": f"Bearer {KEYS[0]}"}
        try:
            async with httpx.AsyncClient(
                base_url=url, headers=headers, timeout=PATIENCE_S
            ) as client:
                yield client
        finally:
            server.should_exit = True
            await running


async def until(pod: FakePod, count: Callable[[], int], wanted: int) -> None:
    """Wait until that many generators of a desk are open."""
    async with asyncio.timeout(PATIENCE_S):
        while count() != wanted:
            await pod.clock.advance(0)


async def breaking(job_id: str, *, after: int = 0) -> AsyncIterator[JobEvent]:
    """Events of a desk that has a bug."""
    yield JobEvent(job_id=job_id, seq=after + 1, kind=EventKind.ACCEPTED, at=0.0)
    raise RuntimeError("a bug")


class Lines:
    """Events of a stream, read one at a time."""

    def __init__(self, reply: httpx.Response) -> None:
        self._lines = reply.aiter_lines()

    async def block(self) -> list[str]:
        """The lines up to the next empty one."""
        found: list[str] = []
        async for line in self._lines:
            if not line:
                break
            found.append(line)
        return found


async def test_events_arrive_while_they_happen() -> None:
    pod = FakePod()
    async with serving(pod.app()) as client:
        await client.put("/v1/jobs/j", json=JOB)
        async with client.stream("GET", "/v1/jobs/j/events") as reply:
            lines = Lines(reply)
            assert await lines.block() == ["id: 1", "event: accepted", "data: {}"]
            pod.jobs.start("j")
            assert (await lines.block())[1] == "event: started"
            pod.jobs.tell("j", EventKind.PROGRESS, step=1)
            assert (await lines.block())[2] == 'data: {"step":1}'
            await pod.clock.advance(KEEP_ALIVE_S)
            assert await lines.block() == [": keep-alive"]
            pod.jobs.end("j", Status.COMPLETED)
            assert (await lines.block())[1] == "event: completed"
            assert await lines.block() == []
        await until(pod, lambda: pod.jobs.watching, 0)


async def test_a_watcher_who_leaves_ends_only_the_watching() -> None:
    pod = FakePod()
    async with serving(pod.app()) as client:
        await client.put("/v1/jobs/j", json=JOB)
        async with client.stream("GET", "/v1/jobs/j/events") as reply:
            await Lines(reply).block()
            assert pod.jobs.watching == 1
        await until(pod, lambda: pod.jobs.watching, 0)
        assert (await client.get("/v1/jobs/j")).json()["status"] == "queued"
        async with client.stream(
            "GET", "/v1/jobs/j/events", headers={"Last-Event-ID": "1"}
        ) as reply:
            pod.jobs.end("j", Status.CANCELLED)
            assert (await Lines(reply).block())[:2] == ["id: 2", "event: cancelled"]


async def test_a_stream_that_a_bug_breaks_is_cut_not_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pod = FakePod()
    monkeypatch.setattr(pod.jobs, "watch", breaking)
    async with serving(pod.app()) as client:
        await client.put("/v1/jobs/j", json=JOB)
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/v1/jobs/j/events")
        assert (await client.get("/health")).status_code == 200


async def test_a_stream_of_text_arrives_piece_by_piece() -> None:
    pod = FakePod()
    pod.texts.hold = asyncio.Event()
    async with serving(pod.app()) as client:
        body = CHAT | {"stream": True}
        async with client.stream("POST", "/chat", json=body) as reply:
            lines = Lines(reply)
            assert await lines.block() == ["event: token", 'data: {"text":" Hello"}']
            assert pod.texts.finished == 0
            pod.texts.hold.set()
            assert (await lines.block())[0] == "event: token"
            name, data = await lines.block()
    assert name == "event: completed"
    assert json.loads(data.removeprefix("data: "))["response"] == "Hello there"


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("path", "body", "texts"),
    [
        ("/chat", CHAT, 1),
        ("/enhance", CHAT, 1),
        ("/generate", {"inputs": "once"}, 1),
        ("/v1/chat/completions", CHAT, 1),
        ("/v1/chat/completions", CHAT | {"n": 3}, 3),
        ("/v1/completions", {"prompt": ["a", "b"], "n": 2}, 4),
    ],
)
async def test_a_caller_who_leaves_cancels_the_generation(
    path: str, body: dict[str, Any], texts: int, stream: bool
) -> None:
    """T-8 and §12 line 40: streamed or not, one text or several."""
    pod = FakePod()
    pod.texts.hold = asyncio.Event()
    async with serving(pod.app()) as client:
        asking = asyncio.ensure_future(client.post(path, json=body | {"stream": stream}))
        await until(pod, lambda: pod.texts.running, texts)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
        await until(pod, lambda: pod.texts.running, 0)
        assert pod.texts.finished == 0
        pod.texts.hold.set()
        assert (await client.post("/chat", json=CHAT)).status_code == 200


async def test_places_are_held_until_the_reply_is_out() -> None:
    pod = FakePod()
    pod.texts.hold = asyncio.Event()
    async with serving(pod.app()) as client:
        del client.headers["Authorization"]
        body = CHAT | {"stream": True}
        held = [asyncio.ensure_future(client.post("/chat", json=body)) for _ in range(8)]
        await until(pod, lambda: pod.texts.running, 8)
        refused = await client.post("/chat", json=CHAT)
        pod.texts.hold.set()
        replies = await asyncio.gather(*held)
        allowed = await client.post("/chat", json=CHAT)
    assert (refused.status_code, refused.json()["code"]) == (429, "RATE_LIMITED")
    assert [reply.status_code for reply in replies] == [200] * 8
    assert allowed.status_code == 200


async def chunks() -> AsyncIterator[bytes]:
    """Five megabytes without a length."""
    yield b'{"messages": "'
    for _ in range(5 * 16):
        yield b"x" * 65_536
    yield b'"}'


async def test_a_body_is_counted_as_it_comes() -> None:
    async with serving(FakePod().app()) as client:
        headers = {"Content-Type": "application/json"}
        reply = await client.post("/chat", content=chunks(), headers=headers)
        assert (reply.status_code, reply.json()["code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert (await client.get("/health")).status_code == 200


async def test_heads_and_options_over_the_wire() -> None:
    async with serving(FakePod().app()) as client:
        head, options = await client.head("/health"), await client.options("/chat")
        again: dict[str, Any] = (await client.get("/health")).json()
    assert (head.status_code, head.content) == (200, b"")
    assert (options.status_code, options.content) == (204, b"")
    assert again["status"] == "healthy"
