"""`/v1/completions`: raw texts continued, in OpenAI's words and without a template (T-6)."""

import json
from typing import Any

import pytest

from ourvidz_worker.domain.errors import Unavailable
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

PATH = "/v1/completions"


async def post(pod: FakePod, status: int = 200, **body: object) -> dict[str, Any]:
    """The JSON reply to a call without a key."""
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=body)
    assert reply.status_code == status, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def stream(pod: FakePod, **body: object) -> list[dict[str, Any]]:
    """The chunks of a stream that ends as it must."""
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=body | {"stream": True})
    *told, last, nothing = reply.text.split("\n\n")
    assert (last, nothing) == ("data: [DONE]", "")
    return [json.loads(piece.removeprefix("data: ")) for piece in told]


async def test_a_raw_text_is_continued_by_base_with_its_first_space() -> None:
    """T-6: verbatim, no template; what parts it from the prompt stays."""
    pod = FakePod()
    told = await post(pod, prompt="Once ")
    request_id = told.pop("request_id")
    assert told.pop("system_fingerprint").startswith("fp_")
    assert told == {
        "id": f"cmpl-{request_id}",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": "Qwen2.5-7B-Base",
        "choices": [
            {"index": 0, "text": " Hello there", "finish_reason": "stop", "logprobs": None}
        ],
        "usage": {
            "prompt_tokens": 7,
            "completion_tokens": 2,
            "total_tokens": 9,
            "prompt_tokens_details": {"cached_tokens": 4},
        },
    }
    (request,) = pod.texts.requests
    assert (request.text, request.messages, request.model) == ("Once ", (), "base")
    assert request.sampling == Sampling(max_tokens=16)


async def test_everything_that_is_served_is_taken() -> None:
    pod = FakePod()
    await post(
        pod,
        model="Qwen2.5-7B-Instruct",
        prompt="a",
        max_tokens=3,
        stop="x",
        seed=4,
        temperature=0,
        echo=False,
        suffix=None,
        logit_bias={},
        best_of=1,
        user="u",
    )
    (request,) = pod.texts.requests
    assert request.sampling == Sampling(max_tokens=3, stop=("x",), seed=4, temperature=0.0)
    assert request.model == "instruct"


async def test_each_prompt_has_its_texts_in_order() -> None:
    pod = FakePod()
    told = await post(pod, prompt=["a", "b"], n=2, best_of=2, seed=9)
    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2, 3]
    asked = [(request.text, request.sampling.seed) for request in pod.texts.requests]
    assert asked == [("a", 9), ("a", 10), ("b", 9), ("b", 10)]
    assert told["usage"]["prompt_tokens"] == 14, "a prompt counts once"
    assert told["usage"]["completion_tokens"] == 8
    assert told["usage"]["prompt_tokens_details"] == {"cached_tokens": 8}


async def test_chances_come_in_columns() -> None:
    pod = FakePod()
    told = await post(pod, prompt="a", logprobs=1)
    assert told["choices"][0]["logprobs"] == {
        "tokens": [" Hello", " there\n"],
        "token_logprobs": [-3.0, -3.5],
        "top_logprobs": [{"a": 0.0, " Hello": -3.0}, {"a": 0.0, " there\n": -3.5}],
        "text_offset": [0, 6],
    }
    chunks = await stream(pod, prompt="a", logprobs=1)
    columns = [one["choices"][0]["logprobs"] for one in chunks]
    assert [found["text_offset"] for found in columns if found] == [[0], [6]]


async def test_a_stream_has_the_same_shape() -> None:
    pod = FakePod()
    told = await stream(pod, prompt=["a", "b"], stream_options={"include_usage": True})
    assert {one["object"] for one in told} == {"text_completion"}
    for index in range(2):
        choices = [one["choices"][0] for one in told if one["choices"]]
        mine = [choice for choice in choices if choice["index"] == index]
        assert "".join(choice["text"] for choice in mine) == " Hello there"
        assert [choice["finish_reason"] for choice in mine][-1] == "stop"
    assert told[-1]["usage"]["total_tokens"] == 18


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("prompt", None),
        ("prompt", []),
        ("prompt", [1, 2]),
        ("prompt", [[1, 2]]),
        ("prompt", 7),
        ("echo", True),
        ("suffix", "x"),
        ("best_of", 3),
        ("n", 9),
        ("logprobs", 21),
        ("logprobs", True),
        ("logit_bias", {"5": 1}),
        ("model", "gpt-9"),
        ("max_tokens", 5000),
    ],
)
async def test_what_is_not_served_is_refused_and_named(field: str, value: object) -> None:
    """P-2."""
    pod = FakePod()
    told = await post(pod, 400, **({"prompt": "a"} | {field: value}))
    assert (told["code"], told["error"]["param"]) == ("INVALID_REQUEST", field)
    assert pod.texts.requests == []


async def test_too_many_texts_at_once_are_refused() -> None:
    told = await post(FakePod(), 400, prompt=["a"] * 5, n=2)
    assert told["error"]["param"] == "n"


async def test_an_empty_prompt_is_refused() -> None:
    """T-6, P-3."""
    for prompt in ("", ["a", ""]):
        told = await post(FakePod(), 422, prompt=prompt)
        assert (told["code"], told["error"]["param"]) == ("INVALID_PROMPT", "prompt")


async def test_a_failure_is_a_problem() -> None:
    """T-8."""
    pod = FakePod()
    pod.texts.error = Unavailable()
    for more in ({}, {"stream": True}):
        told = await post(pod, 503, prompt="a", **more)
        assert told["error"]["type"] == "server_error"
