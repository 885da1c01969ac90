"""The bell of a queue: wakes whoever waits for work, now or at a time set."""

import asyncio
import heapq

from ourvidz_worker.clock import Clock


class Bell:
    """Rung in the event loop when a job may have become leasable.

    A ring that nobody was waiting for is kept for the next who waits; everybody who waits at a
    ring is woken.
    """

    def __init__(self, clock: Clock) -> None:
        """Take the clock that alarms go by."""
        self._clock = clock
        self._rings = 0
        self._heard = 0
        self._alarms: list[float] = []
        self._stirred = asyncio.Event()

    def ring(self) -> None:
        """Wake all who wait."""
        self._rings += 1
        self._stirred.set()

    def ring_at(self, at: float) -> None:
        """Ring at the monotonic time `at`."""
        heapq.heappush(self._alarms, at)
        self._stirred.set()

    async def wait(self, timeout_s: float) -> bool:
        """Wait for a ring, at most `timeout_s`; False when none came."""
        end = self._clock.monotonic() + timeout_s
        self._ring_alarms()
        known = min(self._heard, self._rings)
        while self._rings == known:
            now = self._clock.monotonic()
            if now >= end:
                return False
            self._stirred.clear()
            await self._stir(min([end, *self._alarms[:1]]) - now)
            self._ring_alarms()
        self._heard = self._rings
        return True

    def _ring_alarms(self) -> None:
        while self._alarms and self._alarms[0] <= self._clock.monotonic():
            heapq.heappop(self._alarms)
            self.ring()

    async def _stir(self, seconds: float) -> None:
        sleeper = asyncio.ensure_future(self._clock.sleep(seconds))
        sleeper.add_done_callback(lambda _: self._stirred.set())
        try:
            await self._stirred.wait()
        finally:
            sleeper.cancel()
            await asyncio.wait([sleeper])
