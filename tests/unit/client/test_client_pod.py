"""The client against the HTTP interface itself, on a real port."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.client.served_pod import (
    KEY,
    PICTURE,
    THUMBNAIL,
    ServedPod,
    begin,
    complete,
    fail,
    served,
    write,
)

from ourvidz_worker.client import (
    AsyncClient,
    ChatReply,
    Client,
    ConnectionFailed,
    Contradicted,
    JobCancelled,
    JobEvent,
    JobFailed,
    KeyRejected,
    NotKnown,
    NotNow,
    Rejected,
)
from ourvidz_worker.domain.errors import Unavailable

QUESTION = [{"role": "user", "content": "hello"}]


@pytest.fixture
def pod() -> Iterator[ServedPod]:
    with served(complete) as running:
        yield running


@pytest.fixture
def client(pod: ServedPod) -> Iterator[Client]:
    with Client(pod.url, KEY) as client:
        yield client


def test_a_job_is_followed_and_its_files_saved(client: Client, tmp_path: Path) -> None:
    accepted = client.submit("sdxl_image_fast", "a cat", job_id="cat", count=2)
    told: list[JobEvent] = []
    view = client.wait(accepted.job_id, tell=told.append)
    saved = client.save_assets(view, tmp_path / "new" / "folder")
    assert [event.kind for event in told] == ["accepted", "started", "progress", "completed"]
    assert told[2].progress().eta_s == 3.0
    assert [(file.path.name, file.part, file.path.read_bytes()) for file in saved] == [
        ("cat-0.png", "main", PICTURE),
        ("cat-0.thumb.webp", "thumbnail", THUMBNAIL),
        ("cat-1.png", "main", PICTURE),
    ]
    assert [file.size_bytes for file in saved] == [13, 15, 13]
    assert sorted(tmp_path.rglob("*.*")) == sorted(file.path for file in saved)
    assert client.receipt("cat").stages[0].seconds == 1.5


def test_handed_in_twice_it_is_one_job_and_changed_a_contradiction(client: Client) -> None:
    for _ in range(2):
        assert client.submit("sdxl_image_fast", "a cat", job_id="cat").job_id == "cat"
    assert [view.job_id for view in client.jobs()] == ["cat"]
    with pytest.raises(Contradicted):
        client.submit("sdxl_image_fast", "a dog", job_id="cat")


def test_a_text_result_becomes_a_file(tmp_path: Path) -> None:
    with served(write) as pod, Client(pod.url, KEY) as client:
        view = client.wait(client.submit("chat_conversation", "x", job_id="talk").job_id)
        (file,) = client.save_assets(view, tmp_path)
        assert view.assets[0].text == "Two words"
    assert (file.part, file.path.read_text()) == ("text", "Two words")


def test_a_failure_is_raised_with_its_view() -> None:
    with served(fail) as pod, Client(pod.url, KEY) as client:
        client.submit("video_fast", "x", job_id="j")
        with pytest.raises(JobFailed) as caught:
            client.wait("j")
    assert caught.value.code == "GENERATION_ERROR"
    assert caught.value.view.status == "failed"


def test_a_cancelled_job_is_raised_as_that() -> None:
    with served(begin) as pod, Client(pod.url, KEY) as client:
        client.submit("video_fast", "x", job_id="j")
        for event in client.events("j"):
            if event.kind == "progress":
                client.cancel("j")
        with pytest.raises(JobCancelled):
            client.wait("j")


def test_what_the_pod_refuses_is_named(client: Client, pod: ServedPod) -> None:
    with pytest.raises(Rejected) as caught:
        client.submit("no_such_type", "x")
    assert (caught.value.code, caught.value.field) == ("INVALID_REQUEST", "type")
    assert caught.value.request_id
    with pytest.raises(NotKnown):
        client.job("nope")
    with Client(pod.url, "wrong") as stranger, pytest.raises(KeyRejected):
        stranger.jobs()


def test_a_text_is_streamed_then_whole(client: Client) -> None:
    *pieces, reply = client.chat_stream(QUESTION, max_tokens=9, temperature=0.0)
    assert pieces == [" Hello", " there\n"]
    assert isinstance(reply, ChatReply)
    assert (reply.response, reply.tokens_generated) == ("Hello there", 2)
    assert reply.model_info.parameters["max_tokens"] == 9
    assert client.chat(QUESTION).response == "Hello there"


def test_a_text_that_breaks_off_raises(pod: ServedPod, client: Client) -> None:
    pod.pod.texts.error, pod.pod.texts.error_at = Unavailable(), 1
    stream = client.chat_stream(QUESTION)
    assert next(stream) == " Hello"
    with pytest.raises(NotNow):
        next(stream)


def test_health_needs_no_key(pod: ServedPod) -> None:
    with Client(pod.url) as stranger:
        health = stranger.health()
    assert (health.status, health.ready) == ("healthy", True)
    assert health.version == "1.2.3"


def test_references_and_previews(pod: ServedPod, client: Client) -> None:
    pod.pod.jobs.previews["j"] = b"webp"
    client.submit("video_fast", "x", job_id="j")
    assert client.preview("j") == b"webp"
    assert client.keep_reference("u", b"png") == "reference_images/u/0.png"


def test_a_pod_that_has_gone_is_named() -> None:
    with served(complete) as pod:
        url = pod.url
    with Client(url, KEY, pause=lambda _: None) as client, pytest.raises(ConnectionFailed):
        client.jobs()


@pytest.mark.anyio
async def test_the_asyncio_client_does_the_same(pod: ServedPod, tmp_path: Path) -> None:
    async with AsyncClient(pod.url, KEY) as client:
        accepted = await client.submit("sdxl_image_fast", "a cat", job_id="cat")
        told: list[JobEvent] = []
        view = await client.wait(accepted.job_id, tell=told.append)
        saved = await client.save_assets(view, tmp_path)
        pieces = [piece async for piece in client.chat_stream(QUESTION)]
        with pytest.raises(NotKnown):
            await client.preview("cat")
        jobs = await client.jobs(user_id="local")
        key = await client.keep_reference("u", b"png")
        receipt = await client.receipt("cat")
        health = await client.health()
    assert [event.kind for event in told] == ["accepted", "started", "progress", "completed"]
    assert [file.path.read_bytes() for file in saved] == [PICTURE, THUMBNAIL, PICTURE]
    assert pieces[:2] == [" Hello", " there\n"]
    assert [each.job_id for each in jobs] == ["cat"]
    assert (key, receipt.job_id, health.ready) == ("reference_images/u/0.png", "cat", True)


@pytest.mark.anyio
async def test_leaving_a_text_stops_its_work(pod: ServedPod) -> None:
    texts = pod.pod.texts
    texts.hold = asyncio.Event()
    async with AsyncClient(pod.url, KEY) as client:
        stream = client.chat_stream(QUESTION)
        assert await anext(stream) == " Hello"
        await stream.aclose()
        texts.hold = None
        reply = await client.chat(QUESTION)
    assert reply.response == "Hello there"
    assert texts.finished == 1
