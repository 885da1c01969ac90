"""Progress callbacks: seldom, of no lasting value, and never out of order (contract K-10).

Nothing is owed for them: one that cannot be sent at once is left out. The pump sends them, so
that each stands between its job's `processing` and its end.
"""

from collections import OrderedDict

import msgspec

from ourvidz_worker.clock import Clock

APART_S = 15.0
"""The receiver sets a time with each of them (K-10)."""

MOST_JOBS = 1_000
"""Jobs whose last progress is remembered."""


class ProgressRow(msgspec.Struct, frozen=True, kw_only=True):
    """One progress callback on its way, in the form of one that is owed."""

    job_id: str
    body: bytes
    created_at: float
    id: int = -1
    status: str = "processing"
    tries: int = 0


class ProgressPace:
    """Lets progress pass at most every `APART_S` for each job, the first after as long."""

    def __init__(self, clock: Clock) -> None:
        """Nothing was told yet."""
        self._clock = clock
        self._told_at: OrderedDict[str, float] = OrderedDict()

    def begin(self, job_id: str) -> None:
        """The job was told of now."""
        self._told_at[job_id] = self._clock.monotonic()
        self._told_at.move_to_end(job_id)
        while len(self._told_at) > MOST_JOBS:
            self._told_at.popitem(last=False)

    def is_due(self, job_id: str) -> bool:
        """True when the job's progress may be told now; it then counts as told."""
        told_at = self._told_at.get(job_id)
        if told_at is None or self._clock.monotonic() - told_at < APART_S:
            return False
        self.begin(job_id)
        return True

    def end(self, job_id: str) -> None:
        """Nothing more is told of the job."""
        self._told_at.pop(job_id, None)
