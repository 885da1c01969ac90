"""Contract 2.3: `/chat`, `/enhance` and `/generate` as callers see them."""

import hashlib
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ourvidz_worker.api.call import ApiSettings
from ourvidz_worker.domain.errors import InvalidPrompt
from ourvidz_worker.domain.request import ChatRequest, Message
from ourvidz_worker.domain.text_reply import TextPart
from ourvidz_worker.telemetry.log import Action
from ourvidz_worker.testing.desks import VERSION, FakePod, client_of

pytestmark = pytest.mark.anyio

TURNS = [
    {"role": "system", "content": "Be short."},
    {"role": "user", "content": " <|im_start|> hello \n"},
]


async def post(pod: FakePod, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The reply to a call with a key."""
    async with client_of(pod.app()) as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == 200, reply.text
    told: dict[str, Any] = reply.json()
    assert told.pop("request_id") == reply.headers["x-request-id"]
    return told


def events(text: str) -> list[tuple[str, dict[str, Any]]]:
    """The events of a stream: name and data."""
    found = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


async def test_chat() -> None:
    """T-4, P-5: every member; `sfw_mode` is echoed and changes nothing."""
    pod = FakePod()
    assert await post(pod, "/chat", {"messages": TURNS, "sfw_mode": True}) == {
        "success": True,
        "response": "Hello there",
        "generation_time": 0.25,
        "tokens_generated": 2,
        "prompt_tokens": 7,
        "finish_reason": "stop",
        "sfw_mode": True,
        "model_info": {
            "model_name": "Qwen2.5-7B-Instruct",
            "inference_engine": "pure",
            "active_model_type": "instruct",
            "parameters": {"max_tokens": 512, "temperature": 0.7},
            "sfw_mode": True,
        },
    }
    messages = pod.texts.requests[0].messages
    assert messages == tuple(Message(role=t["role"], content=t["content"]) for t in TURNS)  # type: ignore[arg-type]


async def test_no_turn_is_ever_added() -> None:
    """T-2, P-1, §12 line 38."""
    pod = FakePod()
    await post(pod, "/chat", {"messages": TURNS[1:]})
    assert [message.role for message in pod.texts.requests[0].messages] == ["user"]


async def test_enhance_in_both_forms() -> None:
    """T-4, T-7: the messages form and the prompt form."""
    pod = FakePod()
    told = await post(pod, "/enhance", {"messages": TURNS, "prompt": "not looked at"})
    assert (told["enhanced_prompt"], told["model_info"]["parameters"]["max_tokens"]) == (
        "Hello there",
        200,
    )
    assert "response" not in told
    told = await post(pod, "/enhance", {"prompt": "a cat", "messages": None})
    assert told == {
        "success": True,
        "enhanced_prompt": "a cat Hello there",
        "original_prompt": "a cat",
        "enhancement_source": "qwen_base",
        "processing_time": 0.0,
        "model": "Qwen2.5-7B-Base",
        "enhancement_applied": True,
        "worker": "wan",
    }


async def test_generate_in_both_forms() -> None:
    """T-6: the inputs form continues raw text with Base."""
    pod = FakePod()
    told = await post(pod, "/generate", {"messages": TURNS})
    assert "generated_text" not in told
    told = await post(pod, "/generate", {"inputs": "Once", "parameters": {}})
    assert (told["generated_text"], told["response"]) == ("Hello there", "Hello there")
    assert told["model_info"]["active_model_type"] == "base"
    assert (pod.texts.requests[1].text, pod.texts.requests[1].messages) == ("Once", ())


async def test_an_empty_text_is_a_success() -> None:
    """T-5, §12 line 38."""
    pod = FakePod()
    pod.texts.pieces = [" \n"]
    told = await post(pod, "/chat", {"messages": TURNS})
    assert (told["success"], told["response"], told["empty_output"]) == (True, "", True)


async def test_truncation_is_reported() -> None:
    """T-3: `truncated` and `dropped_messages`."""
    told = await post(FakePod(), "/chat", {"messages": TURNS, "truncate": "oldest"})
    assert (told["truncated"], told["dropped_messages"]) == (True, 2)


async def test_too_long_a_prompt_tells_both_numbers() -> None:
    """T-3: 422 with both numbers."""
    pod = FakePod()
    pod.texts.error = InvalidPrompt("20000 prompt tokens and 512 new ones exceed 16384.")
    async with client_of(pod.app()) as client:
        reply = await client.post("/chat", json={"messages": TURNS})
    assert (reply.status_code, reply.json()["code"]) == (422, "INVALID_PROMPT")
    assert "20000" in reply.json()["error"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/chat", {"messages": TURNS}),
        ("/enhance", {"messages": TURNS}),
        ("/generate", {"messages": TURNS}),
        ("/generate", {"inputs": "Once"}),
    ],
)
async def test_a_stream_is_pieces_then_the_same_reply(path: str, body: dict[str, Any]) -> None:
    """2.3 and T-4: `stream` is served as events; the last one has the tokens counted."""
    pod = FakePod()
    async with client_of(pod.app()) as client:
        reply = await client.post(path, json=body | {"stream": True})
    assert reply.headers["content-type"].startswith("text/event-stream")
    *pieces, (name, last) = events(reply.text)
    assert pieces == [("token", {"text": " Hello"}), ("token", {"text": " there\n"})]
    assert name == "completed"
    assert last.pop("request_id") == reply.headers["x-request-id"]
    assert (last["tokens_generated"], last["prompt_tokens"]) == (2, 7)
    assert last == await post(pod, path, body)


async def test_a_stream_that_breaks_says_so_at_its_end() -> None:
    pod = FakePod()
    pod.texts.error, pod.texts.error_at = InvalidPrompt(), 1
    async with client_of(pod.app()) as client:
        reply = await client.post("/chat", json={"messages": TURNS, "stream": True})
    assert reply.status_code == 200
    assert [name for name, _ in events(reply.text)] == ["token", "failed"]
    assert events(reply.text)[1][1]["code"] == "INVALID_PROMPT"
    assert pod.texts.running == 0


async def test_a_text_without_a_reply_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    async def endless(request: ChatRequest) -> AsyncIterator[TextPart]:
        yield TextPart(text="a piece")

    pod = FakePod()
    monkeypatch.setattr(pod.texts, "stream", endless)
    async with client_of(pod.app()) as client:
        reply = await client.post("/chat", json={"messages": TURNS})
        stream = await client.post("/chat", json={"messages": TURNS, "stream": True})
    assert (reply.status_code, reply.json()["code"]) == (500, "GENERATION_ERROR")
    assert [name for name, _ in events(stream.text)] == ["token", "failed"]


async def test_the_work_is_closed_and_counted_on_every_path() -> None:
    """T-8: nothing runs on for nobody."""
    pod = FakePod()
    await post(pod, "/chat", {"messages": TURNS})
    async with client_of(pod.app()) as client:
        await client.post("/chat", json={"messages": TURNS, "stream": True})
    assert (pod.texts.finished, pod.texts.running) == (2, 0)


async def test_the_log_has_lengths_and_a_digest_but_no_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """O-8: lengths and a digest, never the text."""
    with caplog.at_level(logging.INFO, logger="ourvidz_worker.api"):
        await post(FakePod(), "/chat", {"messages": TURNS, "max_tokens": 9})
        await post(FakePod(), "/generate", {"inputs": "Once"})
    chat, generate = (vars(record) for record in caplog.records)
    assert "no template override" in chat["msg"]
    expected = {
        "action": Action.TEXT_SERVED,
        "messages": 2,
        "system_chars": 9,
        "user_chars": 21,
        "max_tokens": 9,
        "tokens": 2,
        "prompt_tokens": 7,
        "duration_s": 0.0,
    }
    assert {name: chat[name] for name in expected} == expected
    words = "\0".join(turn["content"] for turn in TURNS)
    assert chat["prompt_sha256"] == hashlib.sha256(words.encode()).hexdigest()
    assert (generate["messages"], generate["user_chars"]) == (0, 4)
    assert "hello" not in str(chat).lower()


async def test_the_text_is_logged_when_the_operator_wants_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """O-8: `LOG_PROMPTS=true` changes it."""
    settings = ApiSettings(version=VERSION, log_prompts=True)
    with caplog.at_level(logging.INFO, logger="ourvidz_worker.api"):
        async with client_of(FakePod().app(settings=settings)) as client:
            await client.post("/generate", json={"inputs": "Once"})
    assert vars(caplog.records[0])["prompt"] == "Once"
