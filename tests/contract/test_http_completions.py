"""`/v1/chat/completions` (contract 2.4): the chat model in OpenAI's words."""

import json
from typing import Any

import pytest

from ourvidz_worker.api.completions import OuterTrim
from ourvidz_worker.domain.errors import InvalidPrompt, Unavailable
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "hello"}]
ASKED: dict[str, Any] = {"model": "qwen_instruct", "messages": TURNS}


async def post(pod: FakePod, body: object, status: int = 200) -> dict[str, Any]:
    """The JSON reply to a call without a key."""
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=body)
    assert reply.status_code == status, reply.text
    told: dict[str, Any] = reply.json()
    assert told["request_id"] == reply.headers["x-request-id"]
    return told


def chunks(text: str) -> list[dict[str, Any]]:
    """The chunks of a stream that ends as it must."""
    *told, last, nothing = text.split("\n\n")
    assert (last, nothing) == ("data: [DONE]", "")
    return [json.loads(piece.removeprefix("data: ")) for piece in told]


async def test_a_completion_has_the_members_that_clients_read() -> None:
    pod = FakePod()
    told = await post(pod, ASKED)
    request_id = told.pop("request_id")
    assert told == {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "Qwen2.5-7B-Instruct",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Hello there"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9},
    }


async def test_sampling_is_the_contract_s_and_nothing_is_added() -> None:
    """T-1, P-1: the table's defaults apply, and no turn is added."""
    pod = FakePod()
    await post(pod, ASKED | {"user": "u", "store": True, "n": 1, "tools": []})
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
            "stop": "x",
            "seed": 0,
        },
    )
    first, second = pod.texts.requests
    assert first.sampling == Sampling()
    assert [turn.role for turn in first.messages] == ["user"]
    assert second.sampling == Sampling(
        max_tokens=5,
        temperature=0.0,
        top_p=0.5,
        frequency_penalty=0.6,
        presence_penalty=-1.0,
        stop=("x",),
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
    "change",
    [
        {"model": "gpt-9"},
        {"messages": []},
        {"messages": [{"role": "tool", "content": "x"}]},
        {"messages": [{"role": "user", "content": None}]},
        {"n": 2},
        {"tools": [{"type": "function"}]},
        {"logprobs": True},
        {"logit_bias": {"5": 1}},
        {"response_format": {"type": "json_object"}},
        {"max_completion_tokens": 5000},
        {"temperature": 3},
    ],
)
async def test_what_is_not_served_is_refused_and_never_passed_over(
    change: dict[str, object],
) -> None:
    """P-2: what would change the answer is served or refused."""
    pod = FakePod()
    told = await post(pod, ASKED | change, 400)
    assert told["code"] == "INVALID_REQUEST"
    assert pod.texts.requests == []


async def test_errors_are_problems() -> None:
    """H-20, T-8: problem+json, and Retry-After where trying again helps."""
    pod = FakePod()
    for error, status in ((Unavailable(retry_after_s=12.2), 503), (InvalidPrompt(), 422)):
        pod.texts.error = error
        for body in (ASKED, ASKED | {"stream": True}):
            async with client_of(pod.app(), key=None) as client:
                reply = await client.post(PATH, json=body)
            assert reply.status_code == status
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.headers.get("retry-after") == ("13" if status == 503 else None)


async def test_a_stream_is_chunks_and_an_end() -> None:
    pod = FakePod()
    body = ASKED | {"stream": True, "stream_options": {"include_usage": True}}
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=body)
    assert reply.headers["content-type"].startswith("text/event-stream")
    told = chunks(reply.text)
    assert {(one["object"], one["model"]) for one in told} == {
        ("chat.completion.chunk", "qwen_instruct")
    }
    assert len({one["id"] for one in told}) == 1
    assert [one["choices"][0]["delta"] for one in told[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "Hello"},
        {"content": " there"},
        {},
    ]
    assert told[-2]["choices"][0]["finish_reason"] == "stop"
    assert told[-1]["choices"] == []
    assert told[-1]["usage"] == {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}


async def test_a_stream_tells_no_usage_unless_it_is_asked() -> None:
    async with client_of(FakePod().app(), key=None) as client:
        reply = await client.post(PATH, json=ASKED | {"stream": True})
    assert all(one["usage"] is None for one in chunks(reply.text))


def test_outer_white_space_is_trimmed_piece_by_piece() -> None:
    """T-5: trimmed outside, untouched inside, whatever the pieces are."""
    text = " \n a  b\n\nc \t"
    for size in (1, 2, 3, 50):
        trim = OuterTrim()
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert "".join(trim.take(piece) for piece in pieces) == text.strip()
