"""The loop's thread serves others, and ends with what it was given."""

import asyncio
from threading import Event, get_ident

import pytest

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.engines.text.vllm_loop import LoopThread

LONG_S = 60.0


async def identity() -> int:
    return get_ident()


async def fail() -> None:
    raise ValueError("no")


def ours(error: BaseException) -> BaseException:
    return AttemptError(cause=repr(error))


def test_a_call_runs_in_the_thread_and_returns_to_the_caller() -> None:
    loop = LoopThread("test")
    loop.start()
    assert loop.call(identity(), ours) != get_ident()
    with pytest.raises(AttemptError) as caught:
        loop.call(fail(), ours)
    assert isinstance(caught.value.__cause__, ValueError)
    loop.stop()


def test_what_is_posted_is_called_in_order() -> None:
    loop, done, seen = LoopThread("test"), Event(), list[int]()
    loop.start()
    for number in range(100):
        loop.post(seen.append, number)
    loop.post(done.set)
    assert done.wait(LONG_S)
    assert seen == list(range(100))
    loop.stop()


def test_a_stop_ends_what_still_runs_and_may_come_twice() -> None:
    loop, begun, ended = LoopThread("test"), Event(), Event()

    async def last() -> None:
        begun.set()
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    kept: list[asyncio.Future[None]] = []
    loop.start()
    loop.post(lambda: kept.append(asyncio.ensure_future(last())))
    assert begun.wait(LONG_S)
    assert loop.is_running
    loop.stop()
    loop.stop()
    assert ended.is_set()
    assert not loop.is_running
