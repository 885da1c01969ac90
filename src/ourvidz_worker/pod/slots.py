"""Slots: how many attempts a worker runs at once, given out by class and then in order.

A higher class goes first, but not for ever: who has waited longest of all is passed over
`MOST_OVERTAKEN` times at most.
"""

import asyncio
import heapq
from collections.abc import Callable
from itertools import count
from typing import NamedTuple

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.domain.lane import PriorityClass

MOST_OVERTAKEN = 4
"""One slot in five goes by age alone: callers who wait feel it little, jobs behind them move on."""


class _Waiter(NamedTuple):
    """Somebody who waits: by class, then in order of asking."""

    priority: int
    order: int
    future: "asyncio.Future[Slot]"


class Slot:
    """The right to run one attempt; giving it back twice, or too late, does nothing."""

    def __init__(self, slots: "Slots", generation: int) -> None:
        """Taken from `slots` during one opening."""
        self._slots = slots
        self._generation = generation
        self._held = True

    def release(self) -> None:
        """Give the slot back."""
        if self._held:
            self._held = False
            self._slots.give_back(self._generation)


class Slots:
    """The slots of one worker: open while it is ready, closed otherwise."""

    def __init__(self, changed: Callable[[], object] = lambda: None) -> None:
        """Closed at first; `changed` hears of each slot given back."""
        self._changed = changed
        self._capacity = 0
        self._taken = 0
        self._generation = 0
        self._refusing = False
        self._paused = False
        self._order = count()
        self._waiters: list[_Waiter] = []
        self._overtaken = 0

    @property
    def capacity(self) -> int:
        """How many attempts may run at once now; 0 while closed."""
        return self._capacity

    @property
    def taken(self) -> int:
        """How many slots are in use."""
        return self._taken

    @property
    def waiting(self) -> int:
        """How many callers wait for a slot."""
        return sum(not waiter.future.done() for waiter in self._waiters)

    @property
    def free(self) -> bool:
        """True when who asks now has a slot at once."""
        return self._taken < self._capacity and not self._paused and self.waiting == 0

    def open(self, capacity: int) -> None:
        """The worker is ready: give out `capacity` slots."""
        self._generation += 1
        self._refusing = self._paused = False
        self._capacity, self._taken = capacity, 0
        self._hand_out()

    def pause(self) -> None:
        """Give out no more until `resume` or the next opening; who has a slot keeps it."""
        self._paused = True

    def resume(self) -> None:
        """Go on after a pause."""
        self._paused = False
        self._hand_out()

    def close(self) -> None:
        """The worker is gone: slots given out are void, callers wait for the next opening."""
        self._generation += 1
        self._capacity = self._taken = 0

    def refuse(self) -> None:
        """The worker cannot be had: whoever waits, or asks until the next opening, is told so."""
        self._refusing = True
        for waiter in self._waiters:
            if not waiter.future.done():
                waiter.future.set_exception(ModelLoadFailed())
        self._waiters.clear()

    def ask(self, priority: PriorityClass) -> "asyncio.Future[Slot]":
        """A slot to come, or one that has come at once; who asks is waiting from this call on.

        A lower class number goes first, then who asked first. The one who asked waits for it with
        `granted`, or calls `give_up`. Raises `ModelLoadFailed` when the worker cannot be had.
        """
        if self._refusing:
            raise ModelLoadFailed
        future: asyncio.Future[Slot] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiters, _Waiter(int(priority), next(self._order), future))
        self._hand_out()
        return future

    async def granted(self, asked: "asyncio.Future[Slot]") -> Slot:
        """Wait for what was asked for; who is cancelled meanwhile has given it up."""
        try:
            return await asked
        except asyncio.CancelledError:
            self.give_up(asked)
            raise

    async def take(self, priority: PriorityClass) -> Slot:
        """Ask for a slot and wait for it."""
        return await self.granted(self.ask(priority))

    def give_up(self, asked: "asyncio.Future[Slot]") -> None:
        """Wait no more; a slot that has come goes back, unless that was done before."""
        waiter = next((waiter for waiter in self._waiters if waiter.future is asked), None)
        if waiter is not None:
            self._remove(waiter)
            asked.cancel()
        elif not asked.cancelled() and asked.exception() is None:
            asked.result().release()

    def give_back(self, generation: int) -> None:
        """Take back a slot that was given out in `generation`."""
        if generation == self._generation:
            self._taken -= 1
            self._hand_out()
            self._changed()

    def _hand_out(self) -> None:
        while self._waiters and self._taken < self._capacity and not self._paused:
            future = self._next().future
            if not future.done():
                self._taken += 1
                future.set_result(Slot(self, self._generation))

    def _next(self) -> _Waiter:
        """The next by class, or the oldest of all where it was passed over often enough."""
        first, oldest = self._waiters[0], min(self._waiters, key=_age)
        if first is not oldest and self._overtaken < MOST_OVERTAKEN:
            self._overtaken += 1
            return heapq.heappop(self._waiters)
        self._overtaken = 0
        self._remove(oldest)
        return oldest

    def _remove(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        heapq.heapify(self._waiters)


def _age(waiter: _Waiter) -> int:
    return waiter.order
