"""Both shells on a scripted network: the same calls, tries and mended streams."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ourvidz_worker.client import (
    AsyncClient,
    Client,
    ConnectionFailed,
    JobEvent,
    JobView,
    KeyRejected,
    NotKnown,
    UnexpectedAnswer,
)
from ourvidz_worker.client.calls import MOVE_PATIENCE_S

VIEW: dict[str, object] = {"job_id": "j", "type": "video_fast", "status": "completed"}
Answer = httpx.Response | Exception


class Network:
    """Answers each request with the next of `answers`, and keeps the requests."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.pauses: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sync(self) -> Client:
        transport = httpx.MockTransport(self.answer)
        return Client("http://pod:1", "k", transport=transport, pause=self.pauses.append)

    def asynchronous(self) -> AsyncClient:
        async def pause(seconds: float) -> None:
            self.pauses.append(seconds)

        transport = httpx.MockTransport(self.answer)
        return AsyncClient("http://pod:1", "k", transport=transport, pause=pause)


Ask = Callable[[Any], Any]


def ask_sync(network: Network, ask: Ask) -> object:
    with network.sync() as client:
        result = ask(client)
        return list(result) if hasattr(result, "__next__") else result


def ask_async(network: Network, ask: Ask) -> object:
    async def run() -> object:
        async with network.asynchronous() as client:
            result = ask(client)
            if isinstance(result, Awaitable):
                return await result
            return [item async for item in result]

    return asyncio.run(run())


both = pytest.mark.parametrize("run", [ask_sync, ask_async])
Runner = Callable[[Network, Ask], object]


def reply(content: object, status: int = 200) -> httpx.Response:
    return httpx.Response(status, content=msgspec.json.encode(content))


def stream(*events: tuple[int, str]) -> httpx.Response:
    text = "".join(f"id: {seq}\nevent: {kind}\ndata: {{}}\n\n" for seq, kind in events)
    return httpx.Response(200, content=text.encode())


@both
def test_a_job_is_put_under_an_id_of_its_own(run: Runner) -> None:
    network = Network(reply({"job_id": "x", "status": "queued"}, 202))
    accepted = run(network, lambda client: client.submit("video_fast", "a cat", seed=1))
    (request,) = network.requests
    sent = msgspec.json.decode(request.content)
    assert accepted.status == "queued"  # type: ignore[attr-defined]
    assert request.method == "PUT"
    assert request.url.path == f"/v1/jobs/{sent['id']}"
    assert sent["config"] == {"seed": 1}
    assert request.headers["authorization"] == "Bearer k"
    assert request.headers["content-type"] == "application/json"


@both
def test_files_are_stored_before_the_job_that_names_them(run: Runner, tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    answers = (reply({"reference": "k/1"}, 201), reply({"job_id": "x", "status": "queued"}, 202))
    network = Network(*answers)
    run(network, lambda client: client.submit("video_fast", "x", reference=picture, user_id="u"))
    stored, handed_in = network.requests
    assert (stored.url.path, stored.url.params["user_id"]) == ("/v1/references", "u")
    assert stored.content == b"png"
    assert msgspec.json.decode(handed_in.content)["config"] == {"image": "k/1"}


@both
def test_a_repeatable_call_is_tried_three_times(run: Runner) -> None:
    network = Network(httpx.ConnectError("x"), httpx.ReadTimeout("x"), reply(VIEW))
    assert run(network, lambda client: client.job("j")).job_id == "j"  # type: ignore[attr-defined]
    assert network.pauses == [0.2, 1.0]


@both
def test_a_call_that_must_not_be_repeated_is_not(run: Runner) -> None:
    network = Network(httpx.ReadTimeout("x"))
    with pytest.raises(ConnectionFailed, match="in time"):
        run(network, lambda client: client.chat([{"role": "user", "content": "x"}]))
    assert len(network.requests) == 1


@both
def test_no_pod_is_named_as_that(run: Runner) -> None:
    network = Network(*[httpx.ConnectError("x")] * 3)
    with pytest.raises(ConnectionFailed, match="No pod answers at http://pod:1") as caught:
        run(network, lambda client: client.jobs(status="failed"))
    assert caught.value.retryable
    assert network.requests[0].url.params == httpx.QueryParams({"status": "failed", "limit": "20"})


@both
def test_a_broken_connection_is_named_as_that(run: Runner) -> None:
    network = Network(*[httpx.ReadError("x")] * 3)
    with pytest.raises(ConnectionFailed, match="broke"):
        run(network, lambda client: client.receipt("j"))


@both
def test_errors_of_the_pod_are_typed(run: Runner) -> None:
    network = Network(reply({"code": "UNAUTHORIZED", "error": "No."}, 401))
    with pytest.raises(KeyRejected, match=r"No\."):
        run(network, lambda client: client.cancel("j"))


@both
def test_an_answer_of_another_shape_is_unexpected(run: Runner) -> None:
    with pytest.raises(UnexpectedAnswer):
        run(Network(reply([1])), lambda client: client.job("j"))


@both
def test_an_unwell_pod_still_tells_how_it_is(run: Runner) -> None:
    network = Network(reply({"status": "draining", "draining": True}, 503))
    health = run(network, lambda client: client.health())
    assert health.draining  # type: ignore[attr-defined]


@both
def test_a_broken_stream_is_mended_from_the_last_event(run: Runner) -> None:
    network = Network(
        stream((1, "accepted")),
        httpx.ConnectError("x"),
        reply({"code": "WORKER_UNAVAILABLE", "error": "Drains."}, 503),
        stream((2, "started"), (3, "completed")),
    )
    told = run(network, lambda client: client.events("j"))
    assert isinstance(told, list)
    assert [event.kind for event in told] == ["accepted", "started", "completed"]
    seen = [request.headers.get("last-event-id") for request in network.requests]
    assert seen == [None, "1", "1", "1"]
    assert network.pauses == [0.2, 0.4, 0.8]


@both
def test_a_stream_of_an_unknown_job_is_not_waited_for(run: Runner) -> None:
    network = Network(reply({"code": "NOT_FOUND", "error": "None."}, 404))
    with pytest.raises(NotKnown):
        run(network, lambda client: client.events("j"))
    assert network.pauses == []


@both
def test_waiting_tells_each_event_and_returns_the_view(run: Runner) -> None:
    told: list[JobEvent] = []
    network = Network(stream((1, "accepted"), (2, "completed")), reply(VIEW))
    view = run(network, lambda client: client.wait("j", tell=told.append))
    assert view.is_final  # type: ignore[attr-defined]
    assert [event.seq for event in told] == [1, 2]


@both
def test_events_that_end_before_the_job_are_unexpected(run: Runner) -> None:
    network = Network(stream((1, "completed")), reply({**VIEW, "status": "processing"}))
    with pytest.raises(UnexpectedAnswer):
        run(network, lambda client: client.wait("j"))


@both
def test_a_view_that_names_a_path_is_refused(run: Runner, tmp_path: Path) -> None:
    def ask(client: Any) -> object:  # noqa: ANN401 - either shell
        return client.save_assets(msgspec.convert({**VIEW, "job_id": "../j"}, JobView), tmp_path)

    with pytest.raises(UnexpectedAnswer):
        run(Network(), ask)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["pod:7860", "ftp://pod", "http://", "http://pod:x", ""])
def test_an_address_that_is_none_is_named(url: str) -> None:
    with pytest.raises(ConnectionFailed, match="not an address"):
        Client(url)


@both
def test_models_are_moved_and_memory_is_told(run: Runner) -> None:
    moved = {"message": "loaded: wan", "models_loaded": {"wan_loaded": True}, "success": True}
    network = Network(reply(moved), reply(moved))
    told = run(network, lambda client: client.load_model("wan", force=True))
    run(network, lambda client: client.unload_model())
    assert told.models_loaded == {"wan_loaded": True}  # type: ignore[attr-defined]
    first, second = network.requests
    assert (first.method, first.url.path) == ("POST", "/memory/load")
    assert msgspec.json.decode(first.content) == {"which": "wan", "force": True}
    assert first.extensions["timeout"]["read"] == MOVE_PATIENCE_S
    assert second.url.path == "/memory/unload"


@both
def test_what_was_given_up_is_listed_and_tried_again(run: Runner) -> None:
    """Q-21, K-11."""
    letter = {"id": "x", "job_id": "j", "code": "OOM_ERROR"}
    network = Network(
        reply({"letters": [letter]}),
        reply({"id": "x", "job_id": "j"}, 202),
        reply({"callbacks": [{"id": 3, "job_id": "j", "status": "failed"}]}),
        reply({"id": 3}, 202),
    )
    letters = run(network, lambda client: client.dead_letters(limit=5))
    assert run(network, lambda client: client.replay_letter("x/y")) == "j"
    callbacks = run(network, lambda client: client.dead_callbacks())
    run(network, lambda client: client.replay_callback(3))
    assert [each.job_id for each in letters] == ["j"]  # type: ignore[attr-defined]
    assert [each.id for each in callbacks] == [3]  # type: ignore[attr-defined]
    asked = [(each.method, each.url.raw_path.decode()) for each in network.requests]
    assert asked == [
        ("GET", "/v1/dead?limit=5"),
        ("POST", "/v1/dead/x%2Fy/replay"),
        ("GET", "/v1/callbacks/dead?limit=50"),
        ("POST", "/v1/callbacks/dead/3/replay"),
    ]
