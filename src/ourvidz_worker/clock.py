"""Time, as a thing that is passed in: tests own it and never sleep."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Protocol, TypeVar

Value = TypeVar("Value")


class Clock(Protocol):
    """What the system may ask of time."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds that never run backwards; only differences mean anything."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass, giving way to other tasks."""
        ...


class SystemClock:
    """The machine's own time."""

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never run backwards, counted through suspends."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass, giving way to other tasks."""
        await asyncio.sleep(seconds)


async def within(clock: Clock, seconds: float, work: Coroutine[object, object, Value]) -> Value:
    """The result of `work`, which has ended either way. Raises `TimeoutError` after `seconds`."""
    task, alarm = asyncio.ensure_future(work), asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({task, alarm}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        alarm.cancel()
        task.cancel()
        await asyncio.gather(task, alarm, return_exceptions=True)
