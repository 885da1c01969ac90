"""Calls read out of a text that comes in pieces."""

import pytest

from ourvidz_worker.api.openai.calls import Called, CallReader

LOOK = '<tool_call>\n{"name": "look", "arguments": {"city":  "Oslo", "n": 1.50}}\n</tool_call>'
ADD = '<tool_call>{"arguments": {}, "name": "add"}</tool_call>'
LOOKED = Called(name="look", arguments='{"city":  "Oslo", "n": 1.50}')
ADDED = Called(name="add", arguments="{}")


def read(text: str, size: int = 1) -> list[str | Called]:
    """What is read of a text in pieces of `size`, texts side by side put together."""
    reader = CallReader()
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    items = [item for piece in pieces for item in reader.take(piece)] + reader.end()
    found: list[str | Called] = []
    for item in items:
        if isinstance(item, str) and found and isinstance(found[-1], str):
            found[-1] += item
        else:
            found.append(item)
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_calls_and_texts_are_told_apart_whatever_the_pieces(size: int) -> None:
    assert read(f"Let me look.\n{LOOK}\n{ADD} <tool", size) == [
        "Let me look.\n",
        LOOKED,
        "\n",
        ADDED,
        " <tool",
    ]
    assert read("no call < here <tool_cal", size) == ["no call < here <tool_cal"]
    assert read("", size) == []


@pytest.mark.parametrize(
    "inside",
    [
        "",
        "look(Oslo)",
        '{"name": "look"}',
        '{"name": 7, "arguments": {}}',
        '{"name": "look", "arguments": "Oslo"}',
        '{"name": "look", "arguments": {"city": NaN}}',
        '{"name": "look", "arguments": {}',
        "[]",
    ],
)
@pytest.mark.parametrize("end", ["</tool_call>", ""])
def test_what_is_no_call_stays_text_marks_and_all(inside: str, end: str) -> None:
    text = f"a<tool_call>{inside}{end}"
    assert read(text) == [text]
    assert read(text, 1000) == [text]


def test_a_call_that_lacks_its_end_alone_is_one() -> None:
    assert read(LOOK.removesuffix("</tool_call>")) == [LOOKED]


def test_a_text_is_told_before_its_call_is_whole() -> None:
    reader = CallReader()
    assert reader.take("Let me look. <tool") == ["Let me look. "]
    assert reader.take('_call>{"name": "look"') == []
    assert reader.take(', "arguments": {}}</tool_call>') == [Called(name="look", arguments="{}")]
