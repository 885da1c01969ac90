"""The breaker: a lane that fails by itself rests, and its jobs are not made to pay (contract Q-8).

closed ──3 failures in a row──▶ open for 60 s ──▶ on trial ──success──▶ closed
                                  ▲                  │
                                  └──────failure─────┘   the 3rd opening in a row condemns the lane
"""

from dataclasses import dataclass, field

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.lane import Lane

FAILURES = 3
"""So many failures in a row open a lane."""

OPEN_S = 60.0
OPENINGS = 3
"""So many openings in a row condemn it: jobs that wait are failed instead of kept for ever."""


@dataclass
class _Circuit:
    """One lane's state; `culprits` are the jobs (or times) that failed since the last success."""

    culprits: set[str] = field(default_factory=set)
    openings: int = 0
    open_until: float = float("-inf")


class Breaker:
    """Counts what a lane's own machinery does wrong; nothing of it is written down."""

    def __init__(self, clock: Clock) -> None:
        """Every lane is closed at first."""
        self._clock = clock
        self._circuits = {lane: _Circuit() for lane in Lane}

    def may_lease(self, lane: Lane) -> bool:
        """True when the lane may be given jobs: it is closed, or on trial after its rest."""
        return not self.is_open(lane)

    def is_open(self, lane: Lane) -> bool:
        """True while the lane rests."""
        return self._clock.monotonic() < self._circuits[lane].open_until

    def condemns(self, lane: Lane) -> bool:
        """True while the lane rests for the third time in a row: what waits is to be failed."""
        return self.is_open(lane) and self._circuits[lane].openings >= OPENINGS

    def failed(self, lane: Lane, culprit: str) -> None:
        """Note one failure of the lane's machinery.

        A `culprit` counts once, so that one job which kills its worker again and again cannot
        open its lane alone.
        """
        circuit = self._circuits[lane]
        if self.is_open(lane):
            return
        circuit.culprits.add(culprit)
        if circuit.openings or len(circuit.culprits) >= FAILURES:
            self.open(lane)

    def open(self, lane: Lane) -> None:
        """Let the lane rest; one that rests already is no new opening."""
        if not self.is_open(lane):
            circuit = self._circuits[lane]
            circuit.openings += 1
            circuit.open_until = self._clock.monotonic() + OPEN_S

    def worked(self, lane: Lane) -> None:
        """The lane's machinery did its part: it is closed again."""
        self._circuits[lane] = _Circuit()
