"""Answers read from bytes and their times, however the network cut them."""

import msgspec
import pytest

from ourvidz_worker.cli.chat_answers import ChatAnswer, Piece, read_answer
from ourvidz_worker.cli.chat_wire import Arrival, Exchange

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(*choices: object, **members: object) -> bytes:
    """One event in one chunk of the body."""
    event = b"data: " + msgspec.json.encode({"choices": choices, **members}) + b"\n\n"
    return b"%x\r\n%s\r\n" % (len(event), event)


def text(content: str, reason: str | None = None) -> dict[str, object]:
    return {"delta": {"content": content}, "finish_reason": reason}


USAGE = {
    "prompt_tokens": 9,
    "completion_tokens": 4,
    "prompt_tokens_details": {"cached_tokens": 3},
}
EVENTS = (
    chunk({"delta": {"role": "assistant", "content": ""}}),
    chunk(text("one")),
    chunk(text(" two three")),
    chunk({"delta": {}, "finish_reason": "length"}),
    chunk(usage=USAGE),
    b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n",
)


def answer_of(*parts: bytes, keep_text: bool = False) -> ChatAnswer:
    """Asked at 10 s; a part comes each second after."""
    arrivals = [Arrival(11.0 + second, part) for second, part in enumerate(parts)]
    return read_answer(Exchange(10.0, arrivals), keep_text=keep_text)


def test_an_answer_is_what_came_and_when() -> None:
    answer = answer_of(HEAD, *EVENTS, keep_text=True)
    assert answer == ChatAnswer(
        asked_at=10.0,
        ended_at=17.0,
        pieces=(Piece(13.0, 3), Piece(14.0, 10)),
        prompt_tokens=9,
        tokens=4,
        cached_tokens=3,
        finish_reason="length",
        text="one two three",
    )
    assert answer.first_s == 3.0
    assert answer.token_s == pytest.approx(1 / 3)


def test_a_cut_anywhere_changes_no_text() -> None:
    whole = HEAD + b"".join(EVENTS)
    for size in (1, 2, 7, 64, len(whole)):
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
        answer = answer_of(*parts, keep_text=True)
        assert (answer.text, answer.tokens, answer.failure) == ("one two three", 4, "")


def test_how_far_an_answer_was_follows_from_its_text() -> None:
    answer = answer_of(HEAD, *EVENTS)
    assert [answer.tokens_at(moment) for moment in (12.9, 13.0, 14.0)] == [
        0.0,
        pytest.approx(4 * 3 / 13),
        4.0,
    ]


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        (b'HTTP/1.1 503 Busy\r\nContent-Length: 29\r\n\r\n{"code":"WORKER_UNAVAILABLE"}', ""),
        (b"HTTP/1.1 502 Bad\r\nContent-Length: 6\r\n\r\n<html>", "HTTP_502"),
        (HEAD + EVENTS[1] + chunk(code="TIMEOUT_ERROR"), "TIMEOUT_ERROR"),
        (HEAD + EVENTS[1], "CUT_SHORT"),
        (b"HTTP/1.1 200", "HTTP_0"),
    ],
)
def test_what_is_no_answer_is_a_failure_by_its_code(reply: bytes, failure: str) -> None:
    assert answer_of(reply).failure == (failure or "WORKER_UNAVAILABLE")


def test_one_piece_alone_has_no_pace() -> None:
    answer = answer_of(HEAD, *EVENTS[:2], *EVENTS[3:])
    assert (answer.first_s, answer.token_s) == (3.0, None)


def test_a_lost_connection_is_told_as_such() -> None:
    answer = read_answer(Exchange(10.0, [], "CONNECTION_LOST"))
    assert (answer.failure, answer.first_s, answer.tokens_at(99.0)) == ("CONNECTION_LOST", None, 0)
