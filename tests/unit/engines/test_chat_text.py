"""Text as it is shown: whole characters, trimmed outside, never past a stop string."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ourvidz_worker.engines.chat_text import TextStream


def decode(ids: list[int]) -> str:
    """A tokenizer of single bytes: the hardest one for characters."""
    return bytes(ids).decode("utf-8", errors="replace")


def stream(text: str | bytes, *stops: str) -> tuple[TextStream, list[str]]:
    found = TextStream(decode, stops)
    pieces = []
    for byte in text.encode() if isinstance(text, str) else text:
        pieces.append(found.add(byte))
        if found.stopped:
            break
    pieces.append(found.end())
    return found, pieces


@given(st.text(), st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_the_pieces_are_the_text_up_to_the_first_stop(text: str, stops: list[str]) -> None:
    found, pieces = stream(text, *stops)
    ends = []
    for end in range(len(text) + 1):
        seen = text[:end]
        ends += [seen.index(stop) for stop in stops if stop in seen]
        if ends:
            break
    expected = text[: min(ends)] if ends else text
    assert "".join(pieces) == found.text == expected.strip()
    assert found.stopped == bool(ends)


@given(st.text())
def test_no_piece_holds_a_broken_character(text: str) -> None:
    _, pieces = stream(text)
    assert "".join(pieces).count("\ufffd") == text.strip().count("\ufffd")


@given(st.binary(max_size=40))
def test_bytes_that_are_no_text_are_shown_as_the_decoder_has_them(data: bytes) -> None:
    found, pieces = stream(data)
    assert "".join(pieces) == found.text


def test_a_decoder_that_marks_every_byte_of_a_broken_character() -> None:
    """As SentencePiece's does with its byte pieces."""

    def marks(ids: list[int]) -> str:
        try:
            return bytes(ids).decode()
        except UnicodeDecodeError:
            return "\ufffd" * len(ids)

    found = TextStream(marks, ())
    pieces = [found.add(byte) for byte in "🎉ゆ🎉".encode()]
    assert [piece for piece in pieces if piece] == ["🎉", "ゆ", "🎉"]
    assert found.end() == ""


def test_a_character_is_shown_when_it_is_whole() -> None:
    _, pieces = stream("a🎉b")
    assert pieces == ["a", "", "", "", "🎉", "b", ""]


def test_a_text_cut_inside_a_character_ends_with_the_mark_for_it() -> None:
    found, _ = stream("a🎉".encode()[:-1])
    assert found.text == "a\ufffd"


@pytest.mark.parametrize(
    ("text", "stops", "shown"),
    [
        ("one END two", ("END",), "one"),
        ("one EN", ("END",), "one EN"),
        ("abcabd", ("abd",), "abc"),
        ("\n\n hi \n there  ", (), "hi \n there"),
        ("xyz", ("yz", "xy"), ""),
        ("", ("a",), ""),
        ("   ", (), ""),
        ("x", ("",), "x"),
    ],
)
def test_stops_and_outer_space(text: str, stops: tuple[str, ...], shown: str) -> None:
    found, pieces = stream(text, *stops)
    assert found.text == "".join(pieces) == shown


def test_what_was_trimmed_at_the_start_is_known() -> None:
    found, _ = stream("  \nx ")
    assert found.leading == "  \n"


@pytest.mark.parametrize("text", ["  \nx y ", "x", "   ", " \tEND"])
def test_a_raw_continuation_is_handed_out_with_the_space_before_it(text: str) -> None:
    """T-6, T-7: what it continues and the pieces of it make one text."""
    found = TextStream(decode, ("END",), is_raw=True)
    pieces = [found.add(byte) for byte in text.encode()] + [found.end()]
    shown = text.removesuffix("END").rstrip()
    assert "".join(pieces) == shown
    assert found.text == shown.strip()


def test_the_beginning_of_a_stop_is_held_back() -> None:
    found = TextStream(decode, ("###",))
    assert [found.add(byte) for byte in b"a##b#"] == ["a", "", "", "##b", ""]
    assert found.end() == "#"
