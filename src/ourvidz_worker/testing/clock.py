"""A clock that tests own: time moves when a test says so, and nothing ever sleeps."""

import asyncio
import heapq
from itertools import count

TURNS = 25
"""How often `advance` lets every ready task run before it looks at the sleepers again."""


class FakeClock:
    """A `Clock` that stands still until it is moved.

    `advance` moves it from within a test's event loop and lets the sleepers run, each at its own
    time; `jump` moves it at once, from anywhere. Reading it from a thread is safe, moving is not.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        """Start at wall-clock time `now`; the monotonic time starts at 1000."""
        self._epoch = now - 1000.0
        self._elapsed = 1000.0
        self._order = count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        """Wall clock, seconds since the epoch."""
        return self._epoch + self._elapsed

    def monotonic(self) -> float:
        """Seconds that never run backwards."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait until the clock was moved by `seconds`; not above 0, only give way once."""
        if seconds <= 0:
            await _turn()
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._elapsed + seconds, next(self._order), woken))
        await woken

    def sleepers(self) -> int:
        """How many tasks sleep on this clock now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float) -> None:
        """Let `seconds` pass: wake each sleeper at its own time, in order, and let it run."""
        end = self._elapsed + seconds
        await _run_ready()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._move(max(self._elapsed, self._sleepers[0][0]))
            await _run_ready()
        self._move(end)
        await _run_ready()

    def jump(self, seconds: float) -> None:
        """Move the clock at once and wake, in order, every sleeper whose time has come."""
        self._move(self._elapsed + seconds)

    def step_wall(self, seconds: float) -> None:
        """Set the wall clock alone forwards or back, as an operator or a time server might."""
        self._epoch += seconds

    def _move(self, to: float) -> None:
        self._elapsed = to
        while self._sleepers and self._sleepers[0][0] <= to:
            _, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)


async def _run_ready() -> None:
    for _ in range(TURNS):
        await _turn()


async def _turn() -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    loop.call_soon(_finish, ready)
    await ready


def _finish(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
