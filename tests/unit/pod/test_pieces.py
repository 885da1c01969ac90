"""The pieces of a text: the first at once, what waits joined, nothing lost."""

import asyncio

import pytest
from anyio.lowlevel import checkpoint

from ourvidz_worker.domain.messages import TextPiece
from ourvidz_worker.domain.text_reply import TextPart, TokenChoice
from ourvidz_worker.pod.pieces import Pieces

pytestmark = pytest.mark.anyio

CHOICES = tuple(TokenChoice(token=str(number), logprob=0.0) for number in range(3))


def piece(text: str, *choices: TokenChoice) -> TextPiece:
    return TextPiece(attempt_id="a1", text=text, tokens=1, choices=choices)


async def test_a_reader_who_waits_gets_each_piece_as_it_comes() -> None:
    pieces = Pieces()
    for text in ("one", " two"):
        reading = asyncio.create_task(pieces.take())
        await checkpoint()
        assert not reading.done()
        pieces.put(piece(text))
        assert await reading == TextPart(text=text)


async def test_what_comes_while_the_reader_is_busy_is_one_part() -> None:
    pieces = Pieces()
    pieces.put(piece("one", CHOICES[0]))
    pieces.put(piece("", CHOICES[1]))
    pieces.put(piece(" two", CHOICES[2]))
    assert await pieces.take() == TextPart(text="one two", choices=CHOICES)
    pieces.put(piece(" three"))
    pieces.end()
    assert await pieces.take() == TextPart(text=" three")
    assert await pieces.take() is None


async def test_the_end_wakes_a_reader() -> None:
    pieces = Pieces()
    reading = asyncio.create_task(pieces.take())
    await checkpoint()
    pieces.end()
    assert await reading is None


async def test_a_text_has_begun_once_anything_came() -> None:
    pieces = Pieces()
    begun = [pieces.begun]
    pieces.put(piece("one"))
    assert [*begun, pieces.begun] == [False, True]


async def test_a_reader_who_gave_up_is_no_hindrance() -> None:
    pieces = Pieces()
    reading = asyncio.create_task(pieces.take())
    await checkpoint()
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    pieces.put(piece("one"))
    assert await pieces.take() == TextPart(text="one")
