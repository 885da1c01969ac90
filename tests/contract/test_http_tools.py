"""Tools in OpenAI's words: what the model is told of them, and its calls read out of its text."""

import json
from typing import Any

import pytest

from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.request import Message, ToolCall
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

PATH = "/v1/chat/completions"
TURNS = [{"role": "user", "content": "How is Oslo?"}]
TOOL = {
    "type": "function",
    "function": {"name": "look", "description": "é", "parameters": {"type": "object"}, "x": 1},
}
ASKED: dict[str, Any] = {"messages": TURNS, "tools": [TOOL]}
CALL = '<tool_call>\n{"name": "look", "arguments": {"city": "Oslo"}}\n</tool_call>'


async def post(pod: FakePod, status: int = 200, **more: object) -> dict[str, Any]:
    """The JSON reply to a call without a key."""
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=ASKED | more)
    assert reply.status_code == status, reply.text
    told: dict[str, Any] = reply.json()
    return told


async def deltas(pod: FakePod) -> list[dict[str, Any]]:
    """The choices of a stream's chunks."""
    async with client_of(pod.app(), key=None) as client:
        reply = await client.post(PATH, json=ASKED | {"stream": True})
    chunks = [json.loads(piece[6:]) for piece in reply.text.split("\n\n")[:-2]]
    return [choice for chunk in chunks for choice in chunk["choices"]]


def saying(*pieces: str) -> FakePod:
    """A pod whose model says this."""
    pod = FakePod()
    pod.texts.pieces = list(pieces)
    return pod


async def test_tools_reach_the_model_as_they_were_written() -> None:
    """P-2: the whole object, unknown members included."""
    pod = FakePod()
    await post(pod, tool_choice="auto", parallel_tool_calls=True)
    (request,) = pod.texts.requests
    (tool,) = request.tools
    assert json.loads(tool) == TOOL
    assert request.has_tools
    assert request.messages == (Message(role="user", content="How is Oslo?"),)


async def test_with_the_choice_none_the_model_hears_of_no_tool() -> None:
    pod = saying(CALL)
    told = await post(pod, tool_choice="none", parallel_tool_calls=False)
    assert pod.texts.requests[0].tools == ()
    assert told["choices"][0]["message"]["content"] == CALL


async def test_calls_and_answers_of_tools_are_turns() -> None:
    calls = [
        {
            "id": "call_1",
            "type": "function",
            "function": {"name": "look", "arguments": '{"a":  1}'},
        }
    ]
    turns = [
        *TURNS,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {
            "role": "tool",
            "tool_call_id": "call_1",
            "content": [{"type": "text", "text": "Cold."}],
        },
    ]
    pod = FakePod()
    await post(pod, messages=turns, tools=None)
    (request,) = pod.texts.requests
    made = ToolCall(name="look", arguments='{"a":  1}', id="call_1")
    assert request.messages[1:] == (
        Message(role="assistant", content="", tool_calls=(made,)),
        Message(role="tool", content="Cold.", tool_call_id="call_1"),
    )
    assert request.has_tools


async def test_a_call_is_told_as_a_call() -> None:
    pod = saying("\n", CALL[:20], CALL[20:], "\n", CALL)
    told = await post(pod)
    (choice,) = told["choices"]
    assert choice["finish_reason"] == "tool_calls"
    message = choice["message"]
    assert (message["role"], message["content"]) == ("assistant", None)
    names = {call["id"] for call in message["tool_calls"]}
    assert len(names) == 2
    for call in message["tool_calls"]:
        assert call["type"] == "function"
        assert call["function"] == {"name": "look", "arguments": '{"city": "Oslo"}'}


async def test_text_beside_a_call_stays_content() -> None:
    """T-5: outer white space trimmed."""
    told = await post(saying("Let me look.\n", CALL))
    message = told["choices"][0]["message"]
    assert message["content"] == "Let me look."
    assert len(message["tool_calls"]) == 1


async def test_what_is_no_call_stays_text() -> None:
    broken = CALL.replace("}}", "}")
    told = await post(saying(broken))
    (choice,) = told["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == (broken, "stop")
    assert "tool_calls" not in choice["message"]
    told = await post(saying("Nothing to call."))
    assert told["choices"][0]["message"]["content"] == "Nothing to call."


async def test_an_answer_that_was_cut_off_says_so_whatever_it_calls() -> None:
    pod = saying(CALL, "<tool_call>{")
    pod.texts.finish_reason = "length"
    (choice,) = (await post(pod))["choices"]
    assert choice["finish_reason"] == "length"
    assert len(choice["message"]["tool_calls"]) == 1
    assert choice["message"]["content"] == "<tool_call>{"


async def test_calls_are_streamed_whole_and_text_at_once() -> None:
    pod = saying("Let me ", "look.\n<to", "ol_call>", CALL[11:40], CALL[40:], "\n", CALL)
    told = await deltas(pod)
    assert "".join(one["delta"].get("content", "") for one in told) == "Let me look."
    assert told[1]["delta"] == {"content": "Let me"}
    calls = [call for one in told for call in one["delta"].get("tool_calls", [])]
    assert [call["index"] for call in calls] == [0, 1]
    assert len({call["id"] for call in calls}) == 2
    assert {call["function"]["arguments"] for call in calls} == {'{"city": "Oslo"}'}
    assert told[-1] == {"index": 0, "delta": {}, "finish_reason": "tool_calls", "logprobs": None}


async def test_an_unfinished_call_is_streamed_as_text_at_the_end() -> None:
    told = await deltas(saying("a <tool_call>", '{"name": '))
    assert "".join(one["delta"].get("content", "") for one in told) == 'a <tool_call>{"name":'
    assert told[-1]["finish_reason"] == "stop"


def strict(**more: object) -> list[dict[str, Any]]:
    """A tool that asks for more."""
    return [{"type": "function", "function": {"name": "look"} | more}]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "look"}}),
        ("tool_choice", {"type": "allowed_tools"}),
        ("parallel_tool_calls", False),
        ("tools", strict(strict=True)),
        ("tools", [{"type": "custom", "custom": {"name": "x"}}]),
        ("tools", [{"type": "function", "function": {"name": ""}}]),
        ("tools", [{"type": "function"}]),
        ("tools", ["look"]),
        ("tools", {}),
        ("tools", [TOOL] * 129),
        ("truncate", "oldest"),
    ],
)
async def test_what_cannot_be_kept_is_refused_and_named(field: str, value: object) -> None:
    """P-2: no call can be forced, no answer held to a schema."""
    pod = FakePod()
    told = await post(pod, 400, **{field: value})
    assert told["error"]["param"] == field
    assert pod.texts.requests == []


@pytest.mark.parametrize(
    "turn",
    [
        {"role": "user", "content": "x", "tool_calls": [{"function": {}}]},
        {
            "role": "user",
            "content": "x",
            "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "7"}}]},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{"}}]},
        {"role": "assistant", "tool_calls": []},
        {"role": "tool"},
    ],
)
async def test_turns_of_tools_have_a_form(turn: dict[str, object]) -> None:
    told = await post(FakePod(), 400, messages=[*TURNS, turn])
    assert told["error"]["param"].startswith("messages")


async def test_a_model_without_a_form_for_tools_says_so() -> None:
    """P-3: what an engine refuses reaches the caller with its field."""
    pod = FakePod()
    pod.texts.error = RequestError("No form for tools.", field="tools")
    told = await post(pod, 400)
    assert told["error"] == {
        "message": "No form for tools.",
        "type": "invalid_request_error",
        "param": "tools",
        "code": "INVALID_REQUEST",
    }


async def test_chat_takes_no_tools_of_its_own() -> None:
    """2.3: `/chat` has three roles."""
    turn = {"role": "tool", "content": "x"}
    async with client_of(FakePod().app()) as client:
        reply = await client.post("/chat", json={"messages": [turn]})
    assert (reply.status_code, reply.json()["error"]) == (400, "Invalid role")
