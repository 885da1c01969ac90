"""Conversations with tools: the model's own template between the caller's texts, and no persona."""

import json
from typing import Any

import pytest
from tests.contract.purity.conftest import Family
from tests.contract.purity.forms import COMPLETIONS, FORGED, LOOK_ALIKES, turn
from tests.contract.purity.published import PERSONAS
from tests.contract.purity.words import END, START, Piece, cut, sampling

CITY = {"type": "string", "description": "a city, such as Oslo"}
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": "weather_in",
            "description": "Tells the weather: “now”, 日本語 & <tags>.",
            "parameters": {"type": "object", "properties": {"city": CITY}, "required": ["city"]},
        },
    },
    {"type": "function", "function": {"name": "time", "description": "", "extra": [1, None, 2.5]}},
]
ARGUMENTS = {"city": "Oslo", "days": 3}


def call(arguments: str) -> dict[str, Any]:
    """A call in an earlier answer."""
    return {
        "id": "call-1",
        "type": "function",
        "function": {"name": "weather_in", "arguments": arguments},
    }


def talk(said: str = "How is Oslo?", answer: str = "Cold.") -> list[dict[str, Any]]:
    """A question, a call, two answers of tools, and a second question."""
    return [
        dict(turn("user", said)),
        {"role": "assistant", "content": None, "tool_calls": [call(json.dumps(ARGUMENTS))]},
        {"role": "tool", "content": answer, "tool_call_id": "call-1"},
        {"role": "tool", "content": "", "tool_call_id": "call-1"},
        dict(turn("assistant", "It is cold.")),
        dict(turn("user", "And \n tomorrow? ")),
    ]


SYSTEM = turn("system", "Be brief.")
KINDS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "tools": ([dict(SYSTEM), dict(turn("user", "hello"))], TOOLS),
    "tools and calls": ([dict(SYSTEM), *talk()], TOOLS),
    "calls alone": ([dict(SYSTEM), *talk()], []),
    "tools without a system turn": ([dict(turn("user", "hello"))], TOOLS),
    "all without a system turn": (talk(), TOOLS),
    "calls without a system turn": (talk(), []),
}


def by_the_template(family: Family, turns: list[dict[str, Any]], tools: list[Any]) -> str:
    """What the tokenizer's own template makes of it, with an empty system turn where none is."""
    given = []
    for each in turns:
        plain = each | {"content": each["content"] or ""}
        if calls := each.get("tool_calls"):
            function = calls[0]["function"]
            function = function | {"arguments": json.loads(function["arguments"])}
            plain["tool_calls"] = [calls[0] | {"function": function}]
        given.append(plain)
    if given[0]["role"] != "system":
        given.insert(0, dict(turn("system", "")))
    text: str = family.instruct.tokenizer.apply_chat_template(
        given, tools=tools or None, add_generation_prompt=True, tokenize=False
    )
    return text


@pytest.mark.parametrize(("turns", "tools"), KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("more", [{}, {"stream": True}, {"n": 2}], ids=["plain", "stream", "n"])
def test_tools_are_told_as_the_model_s_template_tells_them(
    qwen: Family, turns: list[dict[str, Any]], tools: list[Any], more: dict[str, Any]
) -> None:
    """P-1, T-2: what `apply_chat_template` writes, and never its persona."""
    qwen.pod.passed()
    asked = {"messages": turns, "seed": 4, **more} | ({"tools": tools} if tools else {})
    qwen.pod.call(COMPLETIONS, asked)
    passed = sorted((given for _, given in qwen.pod.passed()), key=lambda each: each.seed)
    text = by_the_template(qwen, turns, tools)
    assert not any(persona in text for persona in PERSONAS)
    pieces = cut(text, list(qwen.instruct.markers.values()))
    for number, given in enumerate(passed):
        qwen.instruct.check(given.ids, pieces)
        assert given.sampling == sampling(512, seed=4 + number)
    assert len(passed) == more.get("n", 1)


@pytest.mark.parametrize("forged", [FORGED, LOOK_ALIKES, '"}}\\', "<tool_call>", "e\u0301"])
def test_no_text_beside_tools_becomes_a_control_token(qwen: Family, forged: str) -> None:
    """T-2: wherever a caller may write, markers stand in the same places as without them."""
    qwen.pod.passed()

    def markers(text: str) -> tuple[list[str | None], str]:
        function = {"name": "look", "description": text, "parameters": {"properties": {text: {}}}}
        tools = [{"type": "function", "function": function}]
        turns = [dict(turn("system", text)), *talk(text, text)]
        turns[2]["tool_calls"] = [call(json.dumps({text: text}, ensure_ascii=False))]
        qwen.pod.call(COMPLETIONS, {"messages": turns, "tools": tools})
        ((_, given),) = qwen.pod.passed()
        told = qwen.instruct.told(given.ids)
        return [marker for _, marker in told], "".join(a + (b or "") for a, b in told)

    places, _ = markers("harmless")
    found, whole = markers(forged)
    assert found == places
    written = qwen.instruct.composed(forged)
    assert whole.count(written) >= 3, "the system's, the question, and the answer of the tool"
    assert whole.count(json.dumps(written, ensure_ascii=False)) >= 4, "the tool's, and the call's"
    assert whole.startswith(f"{START}system\n{written}")


def test_tools_that_must_not_be_called_are_not_told(qwen: Family) -> None:
    """P-1: with `tool_choice` none the conversation is plain ChatML."""
    qwen.pod.passed()
    asked = {"messages": [turn("user", "hello")], "tools": TOOLS, "tool_choice": "none"}
    qwen.pod.call(COMPLETIONS, asked)
    ((_, given),) = qwen.pod.passed()
    start, end = Piece(START, is_marker=True), Piece(END, is_marker=True)
    pieces = [start, Piece("user\nhello"), end, Piece("\n"), start, Piece("assistant\n")]
    qwen.instruct.check(given.ids, pieces)


def test_a_model_without_a_form_for_tools_is_told_nothing(smollm: Family) -> None:
    """P-3: the call is refused; its tools are not left out."""
    smollm.pod.passed()
    asked = {"messages": [turn("user", "hello")], "tools": TOOLS}
    smollm.pod.call(COMPLETIONS, asked, status=400)
    smollm.pod.call(COMPLETIONS, {"messages": talk()}, status=400)
    assert smollm.pod.passed() == []
