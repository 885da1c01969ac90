"""A fake clock for tests that make real calls: it knows whether one is on its way."""

import asyncio
from collections.abc import Collection
from typing import Any

from ourvidz_worker.testing.clock import FakeClock


class CallClock(FakeClock):
    """A `FakeClock` that tells the alarms of calls from other sleeps, by their length.

    While a call is on its way time must stand still, or its deadline would pass at once.
    """

    def __init__(self, alarms: Collection[float]) -> None:
        """`alarms` are the deadlines of the calls, in seconds."""
        super().__init__()
        self._alarms = frozenset(alarms)
        self._calls = 0

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved by `seconds`."""
        if seconds not in self._alarms:
            return await super().sleep(seconds)
        self._calls += 1
        try:
            return await super().sleep(seconds)
        finally:
            self._calls -= 1

    async def settle(self, task: "asyncio.Task[Any]") -> None:
        """Wait until the task sleeps with no call on its way, or has ended."""
        while not task.done() and (self._calls or not self.sleepers()):
            await self.sleep(0)
