"""The ledger: what each worker counts for, and every move of its memory with the reason."""

from collections import deque
from collections.abc import Mapping

import msgspec

from ourvidz_worker.domain.lane import START_ORDER, Lane
from ourvidz_worker.domain.memory import Move, Residence

MOVES_KEPT = 100
"""As many as `/memory/report` tells (contract 9)."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One worker; sizes in bytes, times in seconds of the monotonic clock.

    `peak_bytes` is the most an attempt was measured to use, 0 before the first one; `waiting_s`
    is how long the oldest demand for an absent worker has waited.
    """

    lane: Lane
    budget_bytes: int
    peak_bytes: int = 0
    residence: Residence = Residence.UNLOADED
    busy: bool = False
    pinned: bool = False
    released: bool = False
    """An operator sent it away: it comes back for work, not by itself."""
    idle_s: float = 0.0
    load_s: float | None = None
    summoned: bool = False
    """Somebody outside the queue waits for it now."""
    waiting: int = 0
    waiting_s: float = 0.0
    arrivals_per_s: float = 0.0

    @property
    def need_bytes(self) -> int:
        """What a load of it must find: the measured peak, else the budget (M-2)."""
        return self.peak_bytes or self.budget_bytes

    @property
    def pending_bytes(self) -> int:
        """What it may take that the device does not show yet: a worker whose use is unknown
        counts as using its budget.
        """
        is_coming = self.residence in {Residence.LOADING, Residence.BROKEN}
        return self.need_bytes if is_coming else 0

    @property
    def expected(self) -> float:
        """Jobs that wait, and those to come while one load would take (M-6)."""
        return self.waiting + self.arrivals_per_s * (self.load_s or 0.0)


class Ledger:
    """The entries of one device's workers, in the order in which they start."""

    def __init__(self, budgets: Mapping[Lane, int]) -> None:
        """`budgets` has one row for each lane the pod serves, bytes."""
        self._entries = {
            lane: Entry(lane=lane, budget_bytes=budgets[lane])
            for lane in START_ORDER
            if lane in budgets
        }
        self._moves: deque[Move] = deque(maxlen=MOVES_KEPT)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Every worker."""
        return tuple(self._entries.values())

    @property
    def moves(self) -> tuple[Move, ...]:
        """The last moves, the oldest first."""
        return tuple(self._moves)

    def entry(self, lane: Lane) -> Entry:
        """One worker."""
        return self._entries[lane]

    def note(self, entry: Entry) -> None:
        """Replace a worker's entry by what was found."""
        self._entries[entry.lane] = entry

    def record(self, move: Move) -> None:
        """Keep a move; the oldest is forgotten."""
        self._moves.append(move)
