"""Jobs: one accepted request with an identity and one final state.

waiting ──lease──▶ leased ──settle──▶ completed | failed | cancelled
   ▲                  │
   └─requeue, sweep───┘            waiting ──cancel──▶ cancelled
"""

from enum import StrEnum

import msgspec

from ourvidz_worker.domain.lane import Lane, PriorityClass


class Status(StrEnum):
    """Where a job stands in the queue."""

    WAITING = "waiting"
    LEASED = "leased"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})

#: From each state, the states a job may move to; any other move is a bug.
MOVES: dict[Status, frozenset[Status]] = {
    Status.WAITING: frozenset({Status.LEASED, Status.CANCELLED, Status.FAILED}),
    Status.LEASED: frozenset({Status.WAITING}) | TERMINAL,
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}

#: What callers are told (contract K-20): a lease is nobody's business but ours.
PUBLIC_STATUS: dict[Status, str] = {
    Status.WAITING: "queued",
    Status.LEASED: "processing",
    Status.COMPLETED: "completed",
    Status.FAILED: "failed",
    Status.CANCELLED: "cancelled",
}


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted request. `payload` is the job object exactly as received, UTF-8 JSON."""

    id: str
    type: str
    user_id: str
    lane: Lane
    priority: PriorityClass
    payload: bytes
    submitted_at: float
    """Wall clock, seconds since the epoch."""
    arrival_known: bool = True
    """False when somebody else took the job in: `submitted_at` is then when we first saw it."""
    readable: bool = True
    """False when `payload` is what was received and holds no job object that can be read."""


class Token(msgspec.Struct, frozen=True):
    """The right to write to a job: its id and the fence of the lease. Fences only grow."""

    job_id: str
    fence: int


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's right to a job until a time.

    `tries` counts this one; `seed` was drawn at the first lease and stays with the job, so that
    a second try draws the same picture. `exhausted` means that the tries are used up: the holder
    must settle the job as failed.
    """

    job: Job
    token: Token
    tries: int
    seed: int
    exhausted: bool = False


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a job, named by a random id that also names its spool directory."""

    id: str
    job_id: str
    number: int
    lane: Lane
    seed: int
    deadline_s: float
