"""The queue: jobs wait here, are leased, and end here exactly once.

A lease is a pod's right to a job until a time. Whoever holds it names it by its token; a token
that is out of date changes nothing (`LeaseLost`). What a settle writes (status, receipt, assets,
the callback owed) is written together or not at all.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import msgspec

from ourvidz_worker.domain.artifact import Asset, Facts
from ourvidz_worker.domain.event import EventKind, JobEvent
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import Job, Lease, Status, Token
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.receipt import Receipt


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ends. `callback` is the exact body owed to the caller, or None for silence.

    `dead` keeps a copy in the dead letters with the failure's reason.
    """

    status: Literal[Status.COMPLETED, Status.FAILED, Status.CANCELLED]
    assets: tuple[Asset, ...] = ()
    receipt: Receipt | None = None
    code: str | None = None
    sentence: str | None = None
    facts: Facts = {}
    callback: bytes | None = None
    dead: bool = False
    result: bytes | None = None
    """A text job's completed body, for whoever looks the result up by the job's id (J-1)."""


class JobRecord(msgspec.Struct, frozen=True, kw_only=True):
    """All that the queue knows of one job."""

    job: Job
    status: Status
    tries: int = 0
    seed: int | None = None
    started_at: float | None = None
    settled_at: float | None = None
    cancel_requested: bool = False
    assets: tuple[Asset, ...] = ()
    receipt: Receipt | None = None
    code: str | None = None
    sentence: str | None = None
    facts: Facts = {}


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A job or element that could not be worked, kept for the operator.

    `id` names a letter that lies in a store; it is empty before that.
    """

    job_id: str | None
    raw: bytes
    reason: str
    code: str
    tries: int
    at: float
    id: str = ""


class CallbackRow(msgspec.Struct, frozen=True, kw_only=True):
    """One callback owed: the exact bytes, and how often they were tried. `id` grows."""

    id: int
    job_id: str
    status: str
    body: bytes
    tries: int
    created_at: float


class DeadCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback given up, kept for the operator: why, and when (`at`)."""

    id: int
    job_id: str
    status: str
    body: bytes
    tries: int
    created_at: float
    at: float
    reason: str


SubmitOutcome = Literal["accepted", "existing"]
CancelOutcome = Literal["cancelled", "requested", "terminal", "unknown"]
"""`cancelled`: it was waiting and has ended. `requested`: it is leased; its holder must stop it."""


class Queue(Protocol):
    """The port every store implements; its conformance suite is `testing.check_queue`.

    Order within a lane: by class; then what was given back, in the order in which it had been
    leased; then fairly between users (who was served longest ago goes first); then first in,
    first out. So that no class waits for ever, every ninth lease of a lane begins with the class
    of its longest waiting job. Times are seconds; errors are `QueueUnavailable` and `LeaseLost`.
    """

    async def open(self) -> None:
        """Take the store; every lease found belongs to a dead pod and is given back."""
        ...

    async def close(self) -> None:
        """Let the store go; leases held stay until they lapse or the store is opened again."""
        ...

    async def submit(self, job: Job, *, callback: bytes | None = None) -> SubmitOutcome:
        """Accept a job durably before returning.

        The same id with the same payload is `existing` and changes nothing; with another payload
        it raises `Conflict`. `callback` is a first callback owed from the moment of acceptance.
        """
        ...

    async def lease(self, owner: str, wanted: Mapping[Lane, int], ttl_s: float) -> list[Lease]:
        """Lease at most `wanted[lane]` jobs of each lane, in order, for `ttl_s`."""
        ...

    async def renew(self, tokens: Sequence[Token], ttl_s: float) -> list[bool]:
        """Renew leases to `ttl_s` from now; False where the lease is no longer ours."""
        ...

    async def start(self, token: Token, *, callback: bytes | None = None) -> None:
        """The work begins now: the job counts as started.

        `callback` is the `processing` body owed; it is owed once for each job, whatever the
        number of tries. Raises `LeaseLost`.
        """
        ...

    async def settle(self, token: Token, end: Settlement) -> None:
        """End a job: all of `end` in one step. Raises `LeaseLost`, then nothing was written."""
        ...

    async def requeue(self, token: Token, *, burn: bool, delay_s: float = 0.0) -> None:
        """Give a job back to the front of its lane; `burn` counts the try. Raises `LeaseLost`.

        Whatever gives a job back (this, a sweep, a restart): one that was cancelled meanwhile ends
        as cancelled instead of running again.
        """
        ...

    async def cancel(self, job_id: str, *, callback: bytes | None = None) -> CancelOutcome:
        """End a waiting job as cancelled, or mark a leased one so that its holder stops it.

        `callback` is owed when the queue ends the job; what a holder's settle owes, it says there.
        """
        ...

    async def sweep(self) -> int:
        """Give lapsed leases back to the front, oldest first; return how many."""
        ...

    async def depths(self) -> dict[Lane, Depth]:
        """The depth of every lane."""
        ...

    async def find(self, job_id: str) -> JobRecord | None:
        """One job, or None."""
        ...

    async def recent(
        self, *, status: Status | None = None, user_id: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """The newest jobs first."""
        ...

    async def bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter; the oldest beyond 1,000 are dropped."""
        ...

    async def dead(self, limit: int = 50) -> list[DeadLetter]:
        """The newest dead letters first."""
        ...

    async def replay(self, letter_id: str) -> str | None:
        """Let what a dead letter holds be worked anew, and take the letter out.

        Its job begins a new life under its id, behind all that waits: without tries, events or
        result of the old one, and dead callbacks of the old one are forgotten. An element that a
        caller pushed is pushed again as it came. Returns the job's id, None for an element that
        names none. Raises `NotFound` without that letter, or without what is needed of its job;
        `Conflict` while the job waits, is worked or still owes callbacks, and when it has
        completed.
        """
        ...

    async def record(
        self, job_id: str, kind: EventKind, data: Mapping[str, str | int | float | bool | None]
    ) -> JobEvent:
        """Append one event to a job's bounded history and return it with its number.

        Raises `NotFound` for a job that is not kept.
        """
        ...

    async def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """A job's kept events with a number above `after`, in order."""
        ...

    async def changed(self, timeout_s: float) -> bool:
        """Wait until work may have become leasable, at most `timeout_s`; True if it may have.

        A change that nobody waited for is kept for the next who waits.
        """
        ...


class Outbox(Protocol):
    """The durable list of callbacks owed, in order within each job."""

    async def due(self, limit: int) -> list[CallbackRow]:
        """Rows whose time has come; at most one for each job, and never past an earlier one."""
        ...

    async def next_due_in(self) -> float | None:
        """Seconds until the next row is due (0 when one is), None when nothing is owed."""
        ...

    async def delivered(self, row: CallbackRow) -> None:
        """The caller accepted it: strike it out, durably."""
        ...

    async def postpone(self, row: CallbackRow, delay_s: float, error: str) -> None:
        """Count a try and set the next one."""
        ...

    async def give_up(self, row: CallbackRow, reason: str) -> None:
        """Move it to the dead callbacks, with its body and the reason."""
        ...

    async def dead_callbacks(self, limit: int = 50) -> list[DeadCallback]:
        """The newest dead callbacks first; the newest thousand are kept."""
        ...

    async def revive(self, callback_id: int) -> bool:
        """Owe a dead callback again: due now, as if it were new, in its old place within its job.

        False when there is none of that number. Raises `Conflict` for one of a job's course whose
        end was accepted already: it would come too late.
        """
        ...

    async def owed(self) -> int:
        """How many callbacks are not delivered yet."""
        ...
