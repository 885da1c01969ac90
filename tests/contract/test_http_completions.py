"""`/v1/chat/completions` (contract 2.4): the chat model in OpenAI's words."""

import asyncio
import json
from typing import Any

import pytest

from ourvidz_worker.domain.errors import AttemptError, InvalidPrompt, Unavailable
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Any] = {"model": "qwen_instruct", "messages": TURNS}
USAGE = {
    "prompt_tokens": 7,
    "completion_tokens": 2,
    "total_tokens": 9,
    "prompt_tokens_details": {"cached_tokens": 4},
}


async def post(pod: FakePod, body: object, status: int = 200) -> dict[str, Any]:
    """The JSON reply to a call without a key."""
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=body)
    assert reply.status_code == status, reply.text
    told: dict[str, Any] = reply.json()
    assert told["request_id"] == reply.headers["x-request-id"]
    return told


async def stream(pod: FakePod, **more: object) -> list[dict[str, Any]]:
    """The chunks of a stream that ends as it must."""
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=ASKED | {"stream": True} | more)
    assert reply.headers["content-type"].startswith("text/event-stream")
    *told, last, nothing = reply.text.split("\n\n")
    assert (last, nothing) == ("data: [DONE]", "")
    return [json.loads(piece.removeprefix("data: ")) for piece in told]


def deltas(chunks: list[dict[str, Any]], index: int = 0) -> list[dict[str, Any]]:
    """What the chunks add to one answer."""
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return [choice["delta"] for choice in choices if choice["index"] == index]


async def test_a_completion_has_the_members_that_clients_read() -> None:
    """2.4: `choices[0].message.content` and `usage`."""
    pod = FakePod()
    told = await post(pod, ASKED)
    request_id = told.pop("request_id")
    fingerprint = told.pop("system_fingerprint")
    assert told == {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "Qwen2.5-7B-Instruct",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there", "refusal": None},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": USAGE,
    }
    assert fingerprint.startswith("fp_")
    assert (await post(pod, ASKED))["system_fingerprint"] == fingerprint
    (chunk, *_) = await stream(pod)
    assert chunk["system_fingerprint"] == fingerprint


async def test_sampling_is_the_contract_s_and_nothing_is_added() -> None:
    """T-1, P-1: the table's defaults apply, and no turn is added."""
    pod = FakePod()
    await post(pod, ASKED | {"user": "u", "store": True, "n": 1, "tools": [], "metadata": {}})
    await post(
        pod,
        ASKED
        | {
            "max_tokens": 9,
            "max_completion_tokens": 5,
            "temperature": 0,
            "top_p": 0.5,
            "frequency_penalty": 0.6,
            "presence_penalty": -1,
            "stop": ["x", "y"],
            "seed": 0,
            "top_k": 3,
            "repetition_penalty": 1.5,
        },
    )
    first, second = pod.texts.requests
    assert first.sampling == Sampling()
    assert [turn.role for turn in first.messages] == ["user"]
    assert (first.tools, first.has_tools) == ((), False)
    assert second.sampling == Sampling(
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        top_k=3,
        frequency_penalty=0.6,
        presence_penalty=-1.0,
        repetition_penalty=1.5,
        stop=("x", "y"),
        seed=0,
    )


@pytest.mark.parametrize(
    ("model", "kind"),
    [
        (None, "instruct"),
        ("QWEN2.5-7b-instruct", "instruct"),
        ("Qwen2.5-7B", "base"),
        ("Pocket-Chat", "instruct"),
    ],
)
async def test_models_are_those_of_the_table_and_the_worker_s_own(
    model: str | None, kind: str
) -> None:
    """2.3 and `/worker/info`: every name that is told there is taken here."""
    pod = FakePod()
    await post(pod, {"model": model, "messages": TURNS})
    assert pod.texts.requests[0].model == kind


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "gpt-9"),
        ("messages", []),
        ("messages", [{"role": "user", "content": None}]),
        ("n", 0),
        ("n", 9),
        ("n", True),
        ("stop", ["a"] * 9),
        ("logit_bias", {"5": 1}),
        ("top_logprobs", 3),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {}}),
        ("functions", [{"name": "f"}]),
        ("function_call", {"name": "f"}),
        ("modalities", ["text", "audio"]),
        ("audio", {"voice": "x"}),
        ("reasoning_effort", "high"),
        ("verbosity", "low"),
        ("web_search_options", {}),
        ("max_completion_tokens", 5000),
        ("temperature", 3),
        ("stream_options", []),
        ("truncate", "newest"),
    ],
)
async def test_what_is_not_served_is_refused_and_never_passed_over(
    field: str, value: object
) -> None:
    """P-2: what would change the answer is served or refused, and the field is named."""
    pod = FakePod()
    told = await post(pod, ASKED | {field: value}, 400)
    assert told["code"] == "INVALID_REQUEST"
    assert told["error"]["param"] == told["field"] == field
    assert pod.texts.requests == []


@pytest.mark.parametrize(
    "harmless",
    [
        {"response_format": {"type": "text"}, "logit_bias": {}, "functions": []},
        {"function_call": "none", "modalities": ["text"], "reasoning_effort": None},
        {"logprobs": False, "top_logprobs": None, "n": None, "stream_options": None},
        {"service_tier": "auto", "prediction": {"type": "content", "content": "x"}},
        {"prompt_cache_key": "k", "safety_identifier": "s", "store": False, "verbosity": "medium"},
    ],
)
async def test_what_changes_nothing_is_tolerated(harmless: dict[str, object]) -> None:
    """H-5."""
    pod = FakePod()
    await post(pod, ASKED | harmless)
    assert pod.texts.requests[0].sampling == Sampling()


async def test_text_parts_are_put_together_with_nothing_between() -> None:
    """T-2: verbatim."""
    pod = FakePod()
    parts = [{"type": "text", "text": " a "}, {"type": "text", "text": "\nb"}]
    turns = [{"role": "system", "content": [], "name": "x"}, {"role": "user", "content": parts}]
    await post(pod, {"messages": turns})
    assert [turn.content for turn in pod.texts.requests[0].messages] == ["", " a \nb"]


@pytest.mark.parametrize(
    ("turn", "sentence"),
    [
        ({"role": "developer", "content": "x"}, "send the turn as system"),
        ({"role": "function", "name": "f", "content": "x"}, "send the turn as tool"),
        ({"role": "robot", "content": "x"}, "Invalid role"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, "type text"),
        ({"role": "user", "content": [{"type": "text"}]}, "type text"),
        ({"role": "user", "content": [7]}, "content"),
        ({"role": "user", "content": 7}, "Invalid message format"),
        ({"role": "assistant", "content": None}, "Invalid message format"),
        ({"role": "assistant", "function_call": {"name": "f"}}, "tool_calls"),
        ("hello", "Invalid message format"),
    ],
)
async def test_turns_that_cannot_be_rendered_are_refused_with_the_cure(
    turn: object, sentence: str
) -> None:
    """H-21: the sentences that stay, and none that echoes."""
    told = await post(FakePod(), {"messages": [*TURNS, turn]}, 400)
    assert sentence in told["error"]["message"]
    assert told["error"]["param"].startswith("messages")


async def test_several_answers_have_one_seed_after_another() -> None:
    pod = FakePod()
    told = await post(pod, ASKED | {"n": 3, "seed": 5})
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2]
    assert {choice["message"]["content"] for choice in told["choices"]} == {"Hello there"}
    assert [request.sampling.seed for request in pod.texts.requests] == [5, 6, 7]
    assert told["usage"] == USAGE | {"completion_tokens": 6, "total_tokens": 13}
    await post(pod, ASKED | {"n": 2})
    assert [request.sampling.seed for request in pod.texts.requests[3:]] == [None, None]
    refused = await post(pod, ASKED | {"n": 2, "seed": 2**53 - 1}, 400)
    assert refused["error"]["param"] == "seed"


async def test_chances_are_told_where_they_are_asked_for() -> None:
    pod = FakePod()
    told = await post(pod, ASKED | {"logprobs": True, "top_logprobs": 2})
    likeliest = [
        {"token": "a", "logprob": 0.0, "bytes": [97]},
        {"token": "b", "logprob": -1.0, "bytes": [98]},
    ]
    (choice,) = told["choices"]
    assert choice["logprobs"] == {
        "content": [
            {
                "token": piece,
                "logprob": -0.5 * len(piece),
                "bytes": list(piece.encode()),
                "top_logprobs": likeliest,
            }
            for piece in pod.texts.pieces
        ],
        "refusal": None,
    }
    assert pod.texts.requests[0].sampling.logprobs == 2
    told = await post(pod, ASKED | {"logprobs": True})
    tokens = told["choices"][0]["logprobs"]["content"]
    assert [token["top_logprobs"] for token in tokens] == [[], []]
    assert pod.texts.requests[1].sampling.logprobs == 0


async def test_old_turns_are_dropped_on_request_and_that_is_told() -> None:
    """T-3: `truncated` and `dropped_messages`."""
    pod = FakePod()
    told = await post(pod, ASKED | {"truncate": "oldest"})
    assert (told["truncated"], told["dropped_messages"]) == (True, 2)
    assert pod.texts.requests[0].truncate == "oldest"


async def test_errors_are_problems_that_clients_of_both_kinds_can_read() -> None:
    """H-20, T-8: problem+json, and Retry-After where trying again helps."""
    pod = FakePod()
    for error, status in ((Unavailable(retry_after_s=12.2), 503), (InvalidPrompt(), 422)):
        pod.texts.error = error
        for body in (ASKED, ASKED | {"stream": True}, ASKED | {"n": 2}):
            async with client_of(pod.app(), key=None) as client:
                reply = await client.post(PATH, json=body)
            assert reply.status_code == status
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.headers.get("retry-after") == ("13" if status == 503 else None)
            told = reply.json()
            assert told["error"] == {
                "message": told["detail"],
                "type": "server_error" if status == 503 else "invalid_request_error",
                "param": None,
                "code": told["code"],
            }
    assert pod.texts.running == 0


async def test_a_stream_is_chunks_and_an_end() -> None:
    told = await stream(FakePod(), stream_options={"include_usage": True})
    assert {(one["object"], one["model"]) for one in told} == {
        ("chat.completion.chunk", "qwen_instruct")
    }
    assert len({one["id"] for one in told}) == 1
    assert deltas(told) == [
        {"role": "assistant", "content": ""},
        {"content": "Hello"},
        {"content": " there"},
        {},
    ]
    assert told[-2]["choices"][0]["finish_reason"] == "stop"
    assert told[-1]["choices"] == []
    assert [one["usage"] for one in told] == [None] * 4 + [USAGE]


async def test_a_stream_tells_no_usage_unless_it_is_asked() -> None:
    assert not any("usage" in one for one in await stream(FakePod()))


async def test_a_stream_tells_the_chances_with_the_text() -> None:
    told = await stream(FakePod(), logprobs=True, top_logprobs=1)
    tokens = [
        (choice["delta"].get("content"), token["token"])
        for one in told
        for choice in one["choices"]
        for token in (choice["logprobs"] or {"content": []})["content"]
    ]
    assert tokens == [("Hello", " Hello"), (" there", " there\n")]


async def test_chances_without_text_are_told_alone() -> None:
    pod = FakePod()
    pod.texts.pieces = [" \n", "x"]
    begun, *told = deltas(await stream(pod, logprobs=True))
    assert begun == {"role": "assistant", "content": ""}
    assert told == [{"content": ""}, {"content": "x"}, {}]


async def test_several_answers_are_streamed_as_they_come() -> None:
    pod = FakePod()
    told = await stream(pod, n=3, seed=1, stream_options={"include_usage": True})
    for index in range(3):
        said = "".join(delta.get("content", "") for delta in deltas(told, index))
        assert said == "Hello there"
    order = [choice["index"] for one in told for choice in one["choices"]]
    assert order != sorted(order), "none waits for another's end"
    ends = [choice["finish_reason"] for one in told for choice in one["choices"]]
    assert ends.count("stop") == 3
    assert told[-1]["usage"]["completion_tokens"] == 6
    assert [request.sampling.seed for request in pod.texts.requests] == [1, 2, 3]


@pytest.mark.parametrize("streamed", [False, True])
async def test_one_answer_that_fails_fails_the_reply_and_ends_the_others(streamed: bool) -> None:
    """T-8: nothing runs on for nobody."""
    pod = FakePod()
    pod.texts.hold = asyncio.Event()
    pod.texts.error, pod.texts.error_in = AttemptError(), 1
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=ASKED | {"n": 3, "stream": streamed})
    assert (pod.texts.running, pod.texts.finished, len(pod.texts.requests)) == (0, 0, 3)
    last = reply.text.strip().rpartition("\n\n")[2].removeprefix("data: ")
    assert json.loads(last)["error"]["code"] == "GENERATION_ERROR"
    assert reply.status_code == (200 if streamed else 500)


async def test_a_stream_that_breaks_says_so_in_its_last_chunk() -> None:
    pod = FakePod()
    pod.texts.error, pod.texts.error_at = AttemptError(), 1
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=ASKED | {"stream": True})
    assert reply.status_code == 200
    *_, last, nothing = reply.text.split("\n\n")
    told = json.loads(last.removeprefix("data: "))
    assert (told["error"]["type"], told["status"], nothing) == ("server_error", 500, "")
    assert told["request_id"] == reply.headers["x-request-id"]
