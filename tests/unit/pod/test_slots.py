"""Slots are given out by class, then in order, and never survive their worker."""

import asyncio

import pytest
from anyio.lowlevel import checkpoint

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.domain.lane import PriorityClass
from ourvidz_worker.pod.slots import Slot, Slots

pytestmark = pytest.mark.anyio


async def asked(slots: Slots, priority: PriorityClass) -> "asyncio.Task[Slot]":
    task = asyncio.create_task(slots.take(priority))
    await checkpoint()
    return task


async def test_a_closed_worker_gives_none_until_it_opens() -> None:
    slots = Slots()
    task = await asked(slots, PriorityClass.NORMAL)
    assert not task.done()
    slots.open(1)
    assert await task
    assert slots.taken == 1


async def test_the_lower_class_number_goes_first_then_who_asked_first() -> None:
    slots = Slots()
    slots.open(1)
    running = await slots.take(PriorityClass.NORMAL)
    normal = await asked(slots, PriorityClass.NORMAL)
    later = await asked(slots, PriorityClass.NORMAL)
    urgent = await asked(slots, PriorityClass.INTERACTIVE)
    running.release()
    (await urgent).release()
    (await normal).release()
    assert await later


async def test_who_has_waited_longest_is_not_passed_over_for_ever() -> None:
    """Fairness (design 5): ageing prevents starvation, whatever class goes first."""
    slots = Slots()
    slots.open(1)
    running = await slots.take(PriorityClass.NORMAL)
    jobs = [await asked(slots, PriorityClass.NORMAL) for _ in range(2)]
    talks = [await asked(slots, PriorityClass.INTERACTIVE) for _ in range(12)]
    names = dict.fromkeys(jobs, "job") | dict.fromkeys(talks, "talk")
    served = []
    for _ in range(len(names)):
        running.release()
        await checkpoint()
        (done,) = [task for task in names if task.done()]
        served.append(names.pop(done))
        running = done.result()
    assert [number for number, name in enumerate(served) if name == "job"] == [4, 9]


async def test_who_asks_has_a_free_slot_at_once_or_waits_from_then_on() -> None:
    slots = Slots()
    slots.open(1)
    free = [slots.free]
    first = slots.ask(PriorityClass.NORMAL)
    assert [*free, slots.free] == [True, False]
    assert first.done()
    second = slots.ask(PriorityClass.NORMAL)
    assert (second.done(), slots.waiting, slots.taken) == (False, 1, 1)
    slots.give_up(first)
    slots.give_up(first)
    assert (second.done(), slots.waiting, slots.taken) == (True, 0, 1)


async def test_who_gives_up_waits_no_more() -> None:
    slots = Slots()
    asked_for = slots.ask(PriorityClass.NORMAL)
    slots.give_up(asked_for)
    slots.give_up(asked_for)
    slots.open(1)
    assert (slots.waiting, slots.taken, asked_for.cancelled()) == (0, 0, True)


async def test_giving_back_twice_or_after_the_worker_changes_nothing() -> None:
    slots = Slots()
    slots.open(2)
    first, second = [await slots.take(PriorityClass.NORMAL) for _ in range(2)]
    first.release()
    first.release()
    assert slots.taken == 1
    slots.close()
    slots.open(2)
    second.release()
    assert slots.taken == 0


async def test_a_cancelled_wait_takes_no_slot() -> None:
    slots = Slots()
    slots.open(1)
    running = await slots.take(PriorityClass.NORMAL)
    waiting = await asked(slots, PriorityClass.NORMAL)
    waiting.cancel()
    running.release()
    await asyncio.gather(waiting, return_exceptions=True)
    assert slots.taken == 0
    assert slots.waiting == 0


async def test_a_worker_that_cannot_be_had_refuses_those_who_wait_and_those_who_come() -> None:
    slots = Slots()
    waiting = await asked(slots, PriorityClass.NORMAL)
    slots.refuse()
    with pytest.raises(ModelLoadFailed):
        await waiting
    with pytest.raises(ModelLoadFailed):
        await slots.take(PriorityClass.NORMAL)
    slots.open(1)
    assert await slots.take(PriorityClass.NORMAL)


async def test_a_pause_gives_out_none_and_leaves_what_was_given() -> None:
    slots = Slots()
    slots.open(2)
    first = await slots.take(PriorityClass.NORMAL)
    slots.pause()
    waiting = await asked(slots, PriorityClass.INTERACTIVE)
    first.release()
    await checkpoint()
    assert not waiting.done()
    slots.resume()
    assert await waiting
