import asyncio

import pytest

from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


async def test_it_stands_still_until_it_is_moved() -> None:
    clock = FakeClock(now=5000.0)
    assert (clock.now(), clock.monotonic()) == (5000.0, 1000.0)
    await clock.sleep(0)
    await clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (5002.5, 1002.5)
    clock.jump(1.5)
    assert (clock.now(), clock.monotonic()) == (5004.0, 1004.0)


async def test_sleepers_wake_in_order_each_at_its_own_time() -> None:
    clock = FakeClock()
    woken: list[tuple[str, float]] = []

    async def tick(name: str, seconds: float) -> None:
        while True:
            await clock.sleep(seconds)
            woken.append((name, clock.monotonic() - 1000))

    tasks = [asyncio.create_task(tick("slow", 3)), asyncio.create_task(tick("fast", 2))]
    await clock.advance(7)
    assert woken == [("fast", 2), ("slow", 3), ("fast", 4), ("slow", 6), ("fast", 6)]
    assert clock.sleepers() == 2
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert clock.sleepers() == 0


async def test_a_jump_wakes_all_whose_time_has_come() -> None:
    clock = FakeClock()
    early, late = (asyncio.create_task(clock.sleep(seconds)) for seconds in (5, 50))
    await clock.advance(0)
    clock.jump(10)
    await early
    assert not late.done()
    clock.jump(40)
    await late
    assert clock.monotonic() == 1050


async def test_a_cancelled_sleeper_is_passed_over() -> None:
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(5))
    await clock.advance(0)
    sleeper.cancel()
    await clock.advance(10)
    assert sleeper.cancelled()
    assert clock.sleepers() == 0


async def test_the_wall_clock_steps_alone() -> None:
    clock = FakeClock(now=5000.0)
    clock.step_wall(-60)
    assert (clock.now(), clock.monotonic()) == (4940.0, 1000.0)
