"""Waiting with an end: work, ends, and generators that are always closed."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ourvidz_worker.api.patience import closing, departure, unless
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


class Log:
    """Work that says what happened to it."""

    def __init__(self) -> None:
        self.said: list[str] = []

    async def for_ever(self, name: str) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.said.append(f"{name} cancelled")
            raise
        return "never"

    async def at_once(self, result: str) -> str:
        return result

    async def fail(self) -> str:
        raise ValueError("broken")


async def test_work_that_ends_first_is_returned_and_its_ends_are_stopped() -> None:
    log = Log()
    assert await unless(log.at_once("done"), log.for_ever("end")) == "done"
    assert log.said in ([], ["end cancelled"])


async def test_an_end_that_comes_first_stops_the_work() -> None:
    log, clock = Log(), FakeClock()
    waiting = asyncio.ensure_future(unless(log.for_ever("work"), clock.sleep(5)))
    await clock.advance(4)
    assert not waiting.done()
    await clock.advance(1)
    assert await waiting is None
    assert log.said == ["work cancelled"]


async def test_errors_of_either_side_are_raised() -> None:
    log = Log()
    with pytest.raises(ValueError, match="broken"):
        await unless(log.fail(), log.for_ever("end"))
    with pytest.raises(ValueError, match="broken"):
        await unless(log.for_ever("work"), log.fail())
    assert "work cancelled" in log.said


async def test_whoever_is_cancelled_takes_everything_along() -> None:
    log = Log()
    waiting = asyncio.ensure_future(unless(log.for_ever("work"), log.for_ever("end")))
    await FakeClock().advance(1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert sorted(log.said) == ["end cancelled", "work cancelled"]


async def test_one_wait_inside_another_ends_alone() -> None:
    log, clock = Log(), FakeClock()

    async def inner() -> str:
        result = await unless(log.for_ever("inner"), clock.sleep(1))
        return f"{result}, and on"

    waiting = asyncio.ensure_future(unless(inner(), clock.sleep(5)))
    await clock.advance(1)
    assert await waiting == "None, and on"
    assert log.said == ["inner cancelled"]


async def test_both_waits_that_end_at_once_end_the_outer_one() -> None:
    log, clock = Log(), FakeClock()

    async def inner() -> str | None:
        return await unless(log.for_ever("inner"), clock.sleep(5))

    waiting = asyncio.ensure_future(unless(inner(), clock.sleep(5)))
    await clock.advance(5)
    assert await waiting is None
    assert log.said == ["inner cancelled"]


async def test_an_end_leaves_no_cancellation_behind() -> None:
    clock = FakeClock()

    async def two_waits() -> list[object]:
        first = await unless(Log().for_ever("work"), clock.sleep(1))
        await unless(clock.sleep(1), Log().for_ever("end"))
        return [first, asyncio.current_task()]

    task = asyncio.ensure_future(two_waits())
    await clock.advance(3)
    assert await task == [None, task]
    assert task.cancelling() == 0


async def test_a_caller_cancelled_as_an_end_comes_is_cancelled() -> None:
    log, clock = Log(), FakeClock()
    waiting = asyncio.ensure_future(unless(log.for_ever("work"), clock.sleep(1)))
    await clock.advance(0)
    clock.jump(1.0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_departure_is_the_disconnect_message() -> None:
    messages = [{"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> dict[str, str]:
        return messages.pop(0)

    await departure(receive)
    assert messages == []


async def test_a_generator_is_closed_on_the_way_out() -> None:
    closed = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.append(True)

    async with closing(numbers()) as items:
        assert await anext(items) == 1
    assert closed == [True]
