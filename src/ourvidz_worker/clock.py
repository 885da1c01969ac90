"""Time, as a thing that is passed in: tests own it and never sleep."""

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol


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


def rfc3339(at: float) -> str:
    """`at` (seconds since the epoch) as the contract writes times: UTC with milliseconds."""
    text = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
