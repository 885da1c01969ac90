"""A stop breaks off what is guarded, is found by what comes next, and is never lost."""

import asyncio

import pytest

from ourvidz_worker.domain.errors import StopRequested
from ourvidz_worker.pod.interruption import Interruption

pytestmark = pytest.mark.anyio


async def wait_for_ever() -> None:
    await asyncio.Event().wait()


async def test_what_is_guarded_is_broken_off_at_once() -> None:
    interruption = Interruption()
    task = asyncio.create_task(interruption.guard(wait_for_ever()))
    await asyncio.to_thread(lambda: None)
    assert interruption.stop("cancelled") is True
    with pytest.raises(StopRequested) as caught:
        await task
    assert caught.value.reason == "cancelled"


async def test_a_stop_that_comes_before_is_found_by_the_next_guard() -> None:
    interruption = Interruption()
    assert interruption.stop("draining") is False
    with pytest.raises(StopRequested):
        await interruption.guard(wait_for_ever())
    with pytest.raises(StopRequested):
        interruption.check()


async def test_the_first_reason_stays() -> None:
    interruption = Interruption()
    interruption.stop("cancelled")
    interruption.stop("lost")
    assert interruption.reason == "cancelled"


async def test_work_that_ends_gives_its_result() -> None:
    async def work() -> int:
        return 7

    interruption = Interruption()
    assert await interruption.guard(work()) == 7
    interruption.check()


async def test_somebody_elses_cancel_is_no_stop() -> None:
    interruption = Interruption()
    task = asyncio.create_task(interruption.guard(wait_for_ever()))
    await asyncio.to_thread(lambda: None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert interruption.reason is None
