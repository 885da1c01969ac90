"""Registration in the application's Supabase, kept true for as long as the pod serves.

The application's functions change one row without a lock, so that what one pod writes another may
overwrite: calls are made one by one, read back, and repeated until they stand (G-3).
"""

import logging
from collections.abc import Callable, Collection, Mapping

import httpx

from ourvidz_worker.announcer import AnnouncerSettings
from ourvidz_worker.announcer.base import PodView, Side
from ourvidz_worker.announcer.control_plane import ControlPlane
from ourvidz_worker.clock import Clock
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

SIDES: tuple[Side, ...] = ("wan", "chat")
"""In the order in which they are registered (G-3)."""

LOOK_S = 1.0
"""How often the pod is looked at: is a side ready, does it drain?"""

CHECK_S = 60.0
"""How often a registration that stands is checked (G-3), and our health refreshed (G-4)."""

CHECK_JITTER = 0.1
"""A check comes up to 10 % earlier or later, so that pods do not meet."""

START_S = 300.0
"""A side that is still starting after this is registered all the same (G-2)."""

LONGEST_WAIT_S = 60.0
DOUBLINGS = 6
"""After a failure 2, 4 … 32 s, then `LONGEST_WAIT_S`, each shortened by up to a half."""

SHORTEST_GAP_S = 1.0
LONGEST_GAP_S = 5.0
"""What passes before each registration, by chance (G-3)."""


class SupabaseAnnouncer:
    """Registers the sides that have an address, reads back, repeats, and looks again."""

    def __init__(
        self,
        settings: AnnouncerSettings,
        pod: PodView,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is told before `run`. Raises `ConfigError` for a wrong URL."""
        self._plane = ControlPlane(settings, clock, transport=transport)
        addresses = {"wan": settings.addresses.wan, "chat": settings.addresses.chat}
        self._urls: dict[Side, str] = {side: addresses[side] for side in SIDES if addresses[side]}
        self._refreshes = settings.refresh
        self._pod = pod
        self._clock = clock
        self._jitter = jitter
        self._began = clock.monotonic()
        self._due: tuple[Side, ...] = ()
        self._accepted: set[Side] = set()
        self._refreshed_at: float | None = None

    async def run(self) -> None:
        """Announce until the pod drains."""
        self._began = self._clock.monotonic()
        failures = 0
        while self._urls and not self._pod.draining():
            due = self._due = self._find_due()
            if not due:
                await self._clock.sleep(LOOK_S)
                continue
            failures = 0 if await self._announce(due) else failures + 1
            await self._pause(self._wait_after(failures))

    async def close(self) -> None:
        """Close every connection."""
        await self._plane.close()

    async def _announce(self, due: Collection[Side]) -> bool:
        """One round: register what does not stand, refresh, read back. True when all stands."""
        seen = await self._plane.seen()
        wanting = [side for side in due if self._is_wanting(side, seen)]
        for side in wanting:
            await self._register(side)
        await self._refresh(told=bool(wanting))
        if wanting:
            seen = await self._plane.seen()
        stands = all(self._stands(side, seen) for side in due)
        if stands and wanting:
            log.info("registered", extra={"action": Action.REGISTERED, "sides": wanting})
        return stands

    def _find_due(self) -> tuple[Side, ...]:
        """The sides to register; one that was is so for good, ready or not."""
        late = self._clock.monotonic() - self._began >= START_S
        return tuple(
            side for side in self._urls if side in self._due or late or self._pod.ready(side)
        )

    def _is_wanting(self, side: Side, seen: Mapping[Side, object] | None) -> bool:
        """True when a side is to be registered; one that cannot be seen now is left alone."""
        if side not in self._accepted:
            return True
        if seen is None or seen[side] == self._urls[side]:
            return False
        log.warning("registration lost", extra={"action": Action.REGISTRATION_LOST, "side": side})
        return True

    def _stands(self, side: Side, seen: Mapping[Side, object] | None) -> bool:
        return seen is not None and side in self._accepted and seen[side] == self._urls[side]

    async def _register(self, side: Side) -> None:
        gap = SHORTEST_GAP_S + (LONGEST_GAP_S - SHORTEST_GAP_S) * self._jitter()
        await self._clock.sleep(gap)
        self._accepted.discard(side)
        if not self._pod.draining() and await self._plane.register(side):
            self._accepted.add(side)

    async def _refresh(self, *, told: bool) -> None:
        """Refresh after a registration, which empties the cache's entry, and once a minute."""
        now = self._clock.monotonic()
        recent = self._refreshed_at is not None and now - self._refreshed_at < CHECK_S / 2
        if not self._refreshes or self._pod.draining() or (recent and not told):
            return
        self._refreshed_at = now
        await self._plane.refresh()

    def _wait_after(self, failures: int) -> float:
        if failures == 0:
            return CHECK_S * (1 + CHECK_JITTER * (2 * self._jitter() - 1))
        longest = min(LONGEST_WAIT_S, float(1 << min(failures, DOUBLINGS)))
        return longest * (1 + self._jitter()) / 2

    async def _pause(self, seconds: float) -> None:
        """Wait, but not for longer than until another side is due or the pod drains."""
        end = self._clock.monotonic() + seconds
        while (left := end - self._clock.monotonic()) > 0:
            if self._pod.draining() or self._find_due() != self._due:
                return
            await self._clock.sleep(min(LOOK_S, left))
