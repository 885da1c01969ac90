"""The lookout: notices what others put into the lists, and rings the bell.

What this pod does itself rings the bell at once. For the rest, an empty list is waited at on a
connection of its own, where the server can block; a list that is not empty, or a server that
cannot block, is looked at again and again, the less often the longer nothing comes (Q-3, Q-4).
"""

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue.bell import Bell
from ourvidz_worker.queue.names import LIST_OF, LISTS
from ourvidz_worker.queue.steps import Steps
from ourvidz_worker.queue.wire import Wire

BLOCK_S = 5
FIRST_LOOK_S = 1.0
LAST_LOOK_S = 5.0

ORDER = tuple(LISTS.values())


class Look(NamedTuple):
    """What the server said of the lists: when, and after how many of our own steps."""

    at: float
    writes: int
    lengths: list[int]
    waiting: list[int]
    leased: list[int]
    over: int


class Lookout:
    """Watches while somebody waits; `saw` and `expect` tell it what is known of the lists."""

    def __init__(self, wire: Wire, steps: Steps, bell: Bell, clock: Clock) -> None:
        """Take the parts; nothing runs before somebody waits."""
        self._wire = wire
        self._steps = steps
        self._bell = bell
        self._clock = clock
        self._lengths = dict.fromkeys(ORDER, 0)
        self._learnt = 0
        self._armed: set[str] = set()
        self._seen: dict[str, bytes] = {}
        self._looks_after_s = FIRST_LOOK_S
        self._blocked: dict[str, asyncio.Task[None]] = {}
        self._looker: asyncio.Task[None] | None = None
        self._waiting = 0
        self._last: Look | None = None

    def saw(self, lengths: Sequence[int], *, took: bool) -> None:
        """A claim left the lists at these lengths, and took something or nothing."""
        self._learnt += 1
        self._lengths = dict(zip(ORDER, lengths, strict=True))
        self._armed = {listed for listed, length in self._lengths.items() if length == 0}
        if took:
            self._looks_after_s = FIRST_LOOK_S

    def expect(self, listed: str, element: bytes | None = None) -> None:
        """This pod itself adds to a list now: that is nothing new to it."""
        if element is not None:
            self._seen[listed] = element
        self._learnt += 1
        self._armed.discard(listed)
        self._lengths[listed] += 1

    def take_seen(self) -> dict[str, bytes]:
        """The elements that were seen last, one of a list, and told once: one may be next."""
        seen, self._seen = self._seen, {}
        return seen

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the bell, at most `timeout_s`, watching the lists meanwhile."""
        if timeout_s <= 0:
            return await self._bell.wait(timeout_s)
        self._waiting += 1
        self._watch()
        try:
            return await self._bell.wait(timeout_s)
        finally:
            self._waiting -= 1
            if self._waiting == 0 and self._looker is not None:
                self._looker.cancel()
                self._looker = None

    async def depths(self) -> dict[Lane, Depth]:
        """How much waits and is leased; where requests are paid for, as of the last look.

        That look is at most five seconds old, and of after all that this pod did itself.
        """
        last = self._last
        if self._wire.can_block or last is None or not self._is_fresh(last):
            last = await self._ask()
        pairs = zip(LIST_OF, last.waiting, last.leased, strict=True)
        return {lane: Depth(waiting=waiting, leased=leased) for lane, waiting, leased in pairs}

    async def close(self) -> None:
        """End all watching."""
        tasks = [*self._blocked.values(), *filter(None, [self._looker])]
        self._blocked, self._looker = {}, None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _watch(self) -> None:
        if self._wire.can_block:
            for listed in self._armed - self._blocked.keys():
                self._blocked[listed] = asyncio.create_task(self._block(listed))
        if self._looker is None or self._looker.done():
            self._looker = asyncio.create_task(self._look())

    async def _block(self, listed: str) -> None:
        """Wait at an empty list until something comes or nobody waits for it any more."""
        try:
            while listed in self._armed and self._waiting:
                if (first := await self._wire.wait_for(listed, BLOCK_S)) is not None:
                    self._seen[listed] = first
                    break
            if listed in self._armed and self._waiting:
                self._armed.discard(listed)
                self._bell.ring()
        except QueueUnavailable:
            # The next look finds out, and whoever is woken then is told.
            self._armed.discard(listed)
        finally:
            self._blocked.pop(listed, None)

    async def _look(self) -> None:
        """Look at the lists from time to time; a fault wakes whoever waits, to meet it."""
        while True:
            await self._clock.sleep(self._looks_after_s)
            self._looks_after_s = min(2 * self._looks_after_s, self._last_look_s())
            if await self._has_news():
                self._bell.ring()

    def _last_look_s(self) -> float:
        """Looking costs money where a request is paid for, and little elsewhere."""
        return FIRST_LOOK_S if self._wire.can_block else LAST_LOOK_S

    async def _has_news(self) -> bool:
        learnt = self._learnt
        try:
            look = await self._ask()
        except QueueUnavailable:
            return True
        # What was learnt meanwhile is newer than this answer, or as old: nobody can tell.
        return look.over > 0 or (learnt == self._learnt and self._compare(look.lengths))

    async def _ask(self) -> Look:
        at, writes = self._clock.monotonic(), self._steps.writes
        lengths, waiting, leased, over = await self._steps.run("look")
        self._last = Look(at, writes, lengths, waiting, leased, over)
        return self._last

    def _is_fresh(self, look: Look) -> bool:
        age_s = self._clock.monotonic() - look.at
        return look.writes == self._steps.writes and age_s < LAST_LOOK_S

    def _compare(self, lengths: Sequence[int]) -> bool:
        """True when a list has grown; what others took is no news."""
        known, now = self._lengths, dict(zip(ORDER, lengths, strict=True))
        grown = any(now[listed] > known[listed] for listed in ORDER)
        self._lengths = now
        if grown:
            self._looks_after_s = FIRST_LOOK_S
        return grown
