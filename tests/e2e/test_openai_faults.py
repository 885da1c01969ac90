"""OpenAI's own client and a pod that cannot serve: what it raises, and how long it waits."""

from collections.abc import Iterator

import openai
import pytest
from openai import OpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.e2e.pods import FAKE, Pod

pytestmark = pytest.mark.e2e

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod whose chat model needs half a second for a word, and has one second."""
    made = Pod(
        tmp_path_factory.mktemp("faults") / "state",
        OURVIDZ_LANES="chat",
        CHAT_REQUEST_TIMEOUT_S="1",
        OURVIDZ_FAKE_OPTIONS='{"steps_s": 0.5}',
        **FAKE,
    )
    made.start(ready=1)
    yield made
    made.close()


@pytest.fixture(scope="module")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod without a chat model."""
    made = Pod(tmp_path_factory.mktemp("mute") / "state", OURVIDZ_LANES="image", **FAKE)
    made.start(ready=1)
    yield made
    made.close()


def client_of(pod: Pod, retries: int = 0) -> OpenAI:
    """A client with the pod's own key."""
    key = (pod.state / "admin.key").read_text().strip()
    url = f"http://127.0.0.1:{pod.chat_port}/v1"
    return OpenAI(base_url=url, api_key=key, max_retries=retries)


def test_a_deadline_that_passes_is_told(pod: Pod) -> None:
    """T-8: 504 `TIMEOUT_ERROR`."""
    with client_of(pod) as client, pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="qwen_instruct", messages=ASKED)
    assert (raised.value.status_code, raised.value.code) == (504, "TIMEOUT_ERROR")
    assert raised.value.type == "server_error"


def test_a_stream_that_breaks_raises_what_broke_it(pod: Pod) -> None:
    pieces = []
    with (
        client_of(pod) as client,
        client.chat.completions.create(
            model="qwen_instruct", messages=ASKED, stream=True
        ) as stream,
        pytest.raises(openai.APIError, match="deadline") as raised,
    ):
        pieces += [choice.delta.content for chunk in stream for choice in chunk.choices]
    assert raised.value.code == "TIMEOUT_ERROR"


def test_the_client_waits_as_long_as_it_is_told_to(
    mute: Pod, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T-8: 503 with `Retry-After`, which the client keeps to before it tries again."""
    waits: list[float] = []
    monkeypatch.setattr("openai._base_client.time.sleep", waits.append)
    with client_of(mute, retries=2) as client, pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model="qwen_instruct", messages=ASKED)
    assert (raised.value.status_code, raised.value.code) == (503, "WORKER_UNAVAILABLE")
    told = float(raised.value.response.headers["retry-after"])
    assert waits == [told, told]
    with client_of(mute) as client:
        assert list(client.models.list()) == []
