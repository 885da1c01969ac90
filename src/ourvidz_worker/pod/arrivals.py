"""Arrivals: how often work for each lane came lately, as seen in the queue (M-6)."""

import math
from collections.abc import Mapping

from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.lane import Lane

MEMORY_S = 600.0
"""What came this long ago counts 1/e of what comes now; as long as a worker's ends do (O-4)."""


class Arrivals:
    """A fading count for each lane; the rates follow from what is seen, from no constant."""

    def __init__(self) -> None:
        """Nothing was seen."""
        self._depths: dict[Lane, int] = {}
        self._counts: dict[Lane, float] = {}
        self._waiting_since: dict[Lane, float] = {}
        self._at: float | None = None

    def look(self, depths: Mapping[Lane, Depth], now: float) -> None:
        """Take note of the queue at `now` (monotonic seconds): what was added since."""
        faded = 1.0 if self._at is None else math.exp((self._at - now) / MEMORY_S)
        self._at = now
        self._counts = {lane: count * faded for lane, count in self._counts.items()}
        for lane, depth in depths.items():
            held = depth.waiting + depth.leased
            came = held - self._depths.get(lane, 0)
            if came > 0:
                self.add(lane, came)
            self._depths[lane] = held

    def add(self, lane: Lane, came: int = 1) -> None:
        """Work came that the queue does not see, such as a text request."""
        self._counts[lane] = self._counts.get(lane, 0.0) + came

    def per_second(self, lane: Lane) -> float:
        """The recent rate."""
        return self._counts.get(lane, 0.0) / MEMORY_S

    def waited_s(self, lane: Lane, is_missed: bool, now: float) -> float:
        """How long work has waited for a lane's absent worker, told of it at each look."""
        if not is_missed:
            self._waiting_since.pop(lane, None)
            return 0.0
        return now - self._waiting_since.setdefault(lane, now)
