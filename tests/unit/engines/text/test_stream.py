"""A text between two threads: nothing is lost, nothing comes twice, the end is told once."""

from threading import Barrier, Thread

import pytest

from ourvidz_worker.domain.errors import AttemptError, WorkerLost
from ourvidz_worker.engines.text.base import Token, Tokens
from ourvidz_worker.engines.text.stream import BufferedStream, joined

LONG_S = 60.0


def part(*ids: int, **rest: object) -> Tokens:
    return Tokens(tokens=tuple(Token(id=each) for each in ids), **rest)  # type: ignore[arg-type]


def new_stream() -> BufferedStream:
    return BufferedStream(lambda _stream: None)


def test_a_read_returns_all_that_came_since_the_last_one() -> None:
    stream = new_stream()
    stream.put(part(1, cached=5))
    stream.put(part(2, 3))
    assert stream.read(LONG_S) == part(1, 2, 3, cached=5)
    stream.put(part(4, finish="length"))
    assert stream.read(LONG_S) == part(4, cached=5, finish="length")


def test_a_read_with_nothing_there_returns_empty_handed() -> None:
    assert new_stream().read(0.0) == Tokens()


def test_after_the_end_nothing_more_comes() -> None:
    stream = new_stream()
    stream.put(part(1, finish="stop"))
    assert stream.read(LONG_S).finish == "stop"
    assert stream.read(LONG_S) == Tokens()


def test_an_error_comes_after_the_tokens_before_it_and_stays() -> None:
    stream = new_stream()
    stream.put(part(1))
    stream.close(WorkerLost())
    assert stream.read(LONG_S) == part(1)
    for _ in range(2):
        with pytest.raises(AttemptError):
            stream.read(LONG_S)


def test_a_cancelled_text_makes_no_reader_wait() -> None:
    asked: list[BufferedStream] = []
    stream = BufferedStream(asked.append)
    stream.cancel()
    assert asked == [stream]
    stream.close()
    assert stream.read(LONG_S) == Tokens()
    assert stream.read(LONG_S) == Tokens()


def test_many_texts_keep_their_tokens_in_order_between_threads() -> None:
    texts, length = 16, 500
    streams = [new_stream() for _ in range(texts)]
    together = Barrier(texts + 1)
    read: list[list[int]] = [[] for _ in range(texts)]

    def follow(number: int) -> None:
        together.wait()
        finish = None
        while finish is None:
            got = streams[number].read(LONG_S)
            read[number].extend(token.id for token in got.tokens)
            finish = got.finish

    readers = [Thread(target=follow, args=(number,)) for number in range(texts)]
    for reader in readers:
        reader.start()
    together.wait()
    for step in range(length):
        for stream in streams:
            stream.put(part(step, finish="length" if step == length - 1 else None))
    for reader in readers:
        reader.join(LONG_S)
    assert read == [list(range(length))] * texts


def test_several_steps_of_a_text_are_one_part() -> None:
    """A crowd's tokens are told a few at a time; none is lost, and the end is the last one's."""
    first = Tokens(tokens=(Token(id=1),), cached=16)
    last = Tokens(tokens=(Token(id=2), Token(id=3)), finish="stop")
    assert joined([first, last]) == Tokens(
        tokens=(Token(id=1), Token(id=2), Token(id=3)), finish="stop", cached=16
    )
    assert joined([]) == Tokens()
