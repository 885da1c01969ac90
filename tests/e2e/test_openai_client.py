"""OpenAI's own client against a real pod on the small chat model."""

from collections.abc import Iterator

import httpx
import openai
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionMessageParam
from tests.e2e.pods import Pod
from tests.e2e.waiting import until

pytestmark = pytest.mark.e2e

MODEL = "qwen_instruct"
QUESTION: list[ChatCompletionMessageParam] = [
    {"role": "user", "content": "What is the capital of France?"}
]
STORY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Tell me a long story."}]
FREED_WITHIN_S = 20.0


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod that serves chat alone, on the small model."""
    made = Pod(tmp_path_factory.mktemp("openai") / "state", OURVIDZ_LANES="chat")
    made.start(ready=1)
    yield made
    made.close()


def url_of(pod: Pod) -> str:
    """What a user of OpenAI's clients sets as the base URL."""
    return f"http://127.0.0.1:{pod.chat_port}/v1"


def key_of(pod: Pod) -> str:
    """The key that the pod made for itself."""
    return (pod.state / "admin.key").read_text().strip()


@pytest.fixture
def client(pod: Pod) -> Iterator[OpenAI]:
    """The client, which does not try again by itself."""
    with OpenAI(base_url=url_of(pod), api_key=key_of(pod), max_retries=0) as made:
        yield made


def running(pod: Pod) -> int:
    """How many texts the chat worker is at, as `/metrics` tells."""
    headers = {"Authorization": f"Bearer {key_of(pod)}"}
    reply = httpx.get(f"http://127.0.0.1:{pod.chat_port}/metrics", headers=headers)
    name = 'ourvidz_attempts_running{lane="chat"} '
    (line,) = [line for line in reply.text.splitlines() if line.startswith(name)]
    return int(line.removeprefix(name))


def test_a_conversation(client: OpenAI) -> None:
    made = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=24
    )
    (choice,) = made.choices
    assert choice.message.role == "assistant"
    assert choice.message.content is not None
    assert "Paris" in choice.message.content
    assert choice.finish_reason in {"stop", "length"}
    assert made.usage is not None
    assert made.usage.total_tokens == made.usage.prompt_tokens + made.usage.completion_tokens
    assert 0 < made.usage.completion_tokens <= 24
    assert made.usage.prompt_tokens_details is not None
    cached = made.usage.prompt_tokens_details.cached_tokens
    assert cached is not None
    assert 0 <= cached < made.usage.prompt_tokens
    assert (made.system_fingerprint or "").startswith("fp_")
    assert made._request_id == made.id.removeprefix("chatcmpl-")


def test_a_stream_adds_up_to_the_same_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=16
    )
    with client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=0,
        max_tokens=16,
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        chunks = list(stream)
    pieces = [choice.delta.content or "" for chunk in chunks for choice in chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len([piece for piece in pieces if piece]) > 1, "it comes piece by piece"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason
    assert (chunks[-1].choices, chunks[0].usage) == ([], None)
    assert chunks[-1].usage is not None
    assert whole.usage is not None
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_the_clients_own_gathering_of_a_stream(client: OpenAI) -> None:
    with client.chat.completions.stream(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=8
    ) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert {"chunk", "content.delta", "content.done"} <= kinds
    assert final.choices[0].message.content


def test_seeds_decide_and_several_answers_have_one_after_another(client: OpenAI) -> None:
    def said(seed: int, n: int = 1) -> list[str | None]:
        made = client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=1.2, seed=seed, n=n, max_tokens=12
        )
        return [choice.message.content for choice in made.choices]

    several = said(11, n=3)
    assert len(set(several)) == 3, "other seeds, other texts"
    assert [said(seed) for seed in (11, 12, 13)] == [[text] for text in several]


def test_several_answers_are_streamed_by_their_index(client: OpenAI) -> None:
    texts = ["", ""]
    with client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=1.2, seed=11, n=2, max_tokens=12, stream=True
    ) as stream:
        for chunk in stream:
            for choice in chunk.choices:
                texts[choice.index] += choice.delta.content or ""
    whole = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=1.2, seed=11, n=2, max_tokens=12
    )
    assert texts == [choice.message.content for choice in whole.choices]


def test_a_stop_string_ends_the_answer_before_it(client: OpenAI) -> None:
    made = client.chat.completions.create(
        model=MODEL, messages=QUESTION, temperature=0, max_tokens=24, stop=["Paris", "zzz"]
    )
    content = made.choices[0].message.content
    assert content is not None
    assert "Paris" not in content
    assert made.choices[0].finish_reason == "stop"


def test_chances_of_the_tokens(client: OpenAI) -> None:
    made = client.chat.completions.create(
        model=MODEL,
        messages=QUESTION,
        temperature=0,
        max_tokens=8,
        logprobs=True,
        top_logprobs=3,
    )
    (choice,) = made.choices
    assert choice.logprobs is not None
    tokens = choice.logprobs.content
    assert tokens is not None
    assert "".join(token.token for token in tokens).strip() == choice.message.content
    for token in tokens:
        assert token.logprob <= 0
        assert token.bytes == list(token.token.encode())
        likeliest = [each.logprob for each in token.top_logprobs]
        assert likeliest == sorted(likeliest, reverse=True)
        assert len(likeliest) == 3
        assert token.top_logprobs[0].token == token.token, "greedy draws the likeliest"


def test_models(client: OpenAI) -> None:
    names = [model.id for model in client.models.list()]
    assert MODEL in names
    assert len(names) > 1, "its own name is told too"
    for name in names:
        assert client.models.retrieve(name).owned_by == "ourvidz-worker"
        made = client.chat.completions.create(model=name, messages=QUESTION, max_tokens=1)
        assert made.model in names


def test_raw_texts_are_continued(client: OpenAI) -> None:
    """T-6: no template; the space that parts the continuation from its beginning stays."""
    made = client.completions.create(
        model=MODEL,
        prompt=["The capital of France is", "One, two, three,"],
        temperature=0,
        max_tokens=6,
        logprobs=2,
    )
    paris, four = made.choices
    assert paris.text.startswith(" Paris")
    assert four.text.startswith(" four")
    assert paris.logprobs is not None
    assert "".join(paris.logprobs.tokens or []).rstrip() == paris.text
    assert (paris.logprobs.text_offset or [])[:1] == [0]
    with client.completions.create(
        model=MODEL,
        prompt="The capital of France is",
        temperature=0,
        max_tokens=6,
        stream=True,
    ) as stream:
        told = [choice.text for chunk in stream for choice in chunk.choices]
    assert "".join(told) == paris.text
    assert client.completions.create(model=MODEL, prompt="x").usage is not None


def test_every_way_in_continues_a_text_alike(client: OpenAI, pod: Pod) -> None:
    """T-6, T-7: the beginning and its continuation make one text, the space between them kept."""
    begun = "The capital of France is"
    made = client.completions.create(model="qwen_base", prompt=begun, temperature=0, max_tokens=6)
    whole = begun + made.choices[0].text
    assert whole.startswith(f"{begun} Paris")
    parameters = {"do_sample": False, "max_new_tokens": 6, "return_full_text": True}
    bodies: dict[str, dict[str, object]] = {
        "/generate": {"inputs": begun, "parameters": parameters},
        "/enhance": {"prompt": begun, "config": {"temperature": 0, "max_tokens": 6}},
    }
    told = {
        path: httpx.post(
            f"http://127.0.0.1:{pod.port}{path}",
            json=body,
            headers={"Authorization": f"Bearer {key_of(pod)}"},
            timeout=60,
        ).json()
        for path, body in bodies.items()
    }
    assert told["/generate"]["generated_text"] == whole
    assert told["/enhance"]["enhanced_prompt"] == whole


def test_a_request_at_fault_names_its_field(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as model:
        client.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert (model.value.param, model.value.code) == ("model", "INVALID_REQUEST")
    assert model.value.type == "invalid_request_error"
    assert "qwen_instruct" in str(model.value)
    with pytest.raises(openai.BadRequestError) as field:
        client.chat.completions.create(model=MODEL, messages=QUESTION, temperature=3)
    assert field.value.param == "temperature"
    with pytest.raises(openai.BadRequestError) as unserved:
        client.chat.completions.create(model=MODEL, messages=QUESTION, logit_bias={"5": 1})
    assert unserved.value.param == "logit_bias"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_too_long_a_prompt_tells_both_numbers(client: OpenAI) -> None:
    """T-3."""
    with pytest.raises(openai.UnprocessableEntityError) as raised:
        client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 9000}], max_tokens=100
        )
    assert raised.value.code == "INVALID_PROMPT"
    assert "max_tokens is 100" in str(raised.value)


def test_a_wrong_key_is_no_key(pod: Pod) -> None:
    with (
        OpenAI(base_url=url_of(pod), api_key="wrong", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as raised,
    ):
        stranger.models.list()
    assert raised.value.code == "UNAUTHORIZED"


def test_callers_without_a_key_are_limited(pod: Pod) -> None:
    """A-6."""
    without = {"Authorization": openai.Omit()}
    with OpenAI(base_url=url_of(pod), api_key="none", max_retries=0) as keyless:

        def ask_often(times: int) -> None:
            for _ in range(times):
                keyless.models.retrieve(MODEL, extra_headers=without)

        ask_often(2)
        with pytest.raises(openai.RateLimitError) as raised:
            ask_often(80)
    assert raised.value.code == "RATE_LIMITED"
    assert float(raised.value.response.headers["retry-after"]) >= 1


def test_a_caller_who_loses_patience_frees_the_place(client: OpenAI, pod: Pod) -> None:
    """T-8 and §12 line 40, without a stream."""
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.5).chat.completions.create(
            model=MODEL, messages=STORY, max_tokens=2000, n=2, logprobs=True
        )
    until(lambda: running(pod) == 0, FREED_WITHIN_S)


def test_a_stream_that_is_closed_frees_its_places(client: OpenAI, pod: Pod) -> None:
    """T-8 and §12 line 40, for every answer of the call."""
    stream = client.chat.completions.create(
        model=MODEL, messages=STORY, max_tokens=2000, n=3, stream=True, temperature=1.0
    )
    for _ in range(6):
        next(stream)
    assert running(pod) == 3
    stream.close()
    until(lambda: running(pod) == 0, FREED_WITHIN_S)


@pytest.mark.anyio
async def test_the_client_for_asyncio(pod: Pod) -> None:
    async with AsyncOpenAI(base_url=url_of(pod), api_key=key_of(pod), max_retries=0) as client:
        made = await client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=8
        )
        async with await client.chat.completions.create(
            model=MODEL, messages=QUESTION, temperature=0, max_tokens=8, stream=True
        ) as stream:
            pieces = [choice.delta.content or "" async for one in stream for choice in one.choices]
    assert "".join(pieces) == made.choices[0].message.content
