"""A queue as a Python dictionary: what every store must do, said in the plainest way.

The conformance suite runs each verb on a store and on this model and compares. Claims are numbered
here by their order; a store's fences are learnt from it and only have to grow.
"""

from collections.abc import Mapping
from typing import Literal

import msgspec

from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import MOVES, PUBLIC_STATUS, TERMINAL, Job, Status, Token
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import CancelOutcome, DeadLetter, JobRecord, Settlement
from ourvidz_worker.testing.clock import FakeClock

AGEING_LEASES = 9
"""Of every nine leases of a lane, one begins with the class of its longest waiting job."""

Change = Literal["ok", "lost"]


class ModelJob(msgspec.Struct, frozen=True, kw_only=True):
    """One job. `claim` numbers its newest lease, `returned` the lease it was given back from."""

    order: int
    job: Job
    status: Status = Status.WAITING
    tries: int = 0
    seed: int | None = None
    token: Token | None = None
    until: float = 0.0
    claim: int = 0
    returned: int = 0
    not_before: float = 0.0
    started_at: float | None = None
    settled_at: float | None = None
    told: bool = False
    cancel_requested: bool = False
    cancel_body: bytes | None = None
    end: Settlement | None = None

    def record(self) -> JobRecord:
        """The job as a store must report it."""
        end = self.end or Settlement(status=Status.COMPLETED)
        return JobRecord(
            job=self.job,
            status=self.status,
            tries=self.tries,
            seed=self.seed,
            started_at=self.started_at,
            settled_at=self.settled_at,
            cancel_requested=self.cancel_requested,
            assets=end.assets,
            receipt=end.receipt,
            code=end.code,
            sentence=end.sentence,
            facts=end.facts,
        )


class ModelRow(msgspec.Struct, frozen=True, kw_only=True):
    """One callback owed."""

    order: int
    job_id: str
    status: str
    body: bytes
    tries: int = 0
    due: float = 0.0


class QueueModel:
    """The verbs of the port on dictionaries; time comes from the clock that the store has too."""

    def __init__(self, clock: FakeClock, *, max_tries: int = 3) -> None:
        """An empty queue."""
        self.jobs: dict[str, ModelJob] = {}
        self.rows: list[ModelRow] = []
        self.letters: list[DeadLetter] = []
        self.cancelled_by_store: list[str] = []
        self._clock = clock
        self._max_tries = max_tries
        self._claims = 0
        self._accepted = 0
        self._owed = 0
        self._served: dict[tuple[Lane, int, str], int] = {}
        self._granted: dict[Lane, int] = dict.fromkeys(Lane, 0)

    def submit(
        self, job: Job, callback: bytes | None
    ) -> Literal["accepted", "existing", "conflict"]:
        """Accept a job, or say why not."""
        if job.id in self.jobs:
            same = self.jobs[job.id].job.payload == job.payload
            return "existing" if same else "conflict"
        self._accepted += 1
        self.jobs[job.id] = ModelJob(order=self._accepted, job=job)
        self._owe(job.id, Status.WAITING, callback)
        return "accepted"

    def lease(self, wanted: Mapping[Lane, int], ttl_s: float) -> list[ModelJob]:
        """The jobs that must be leased now, in order; their tokens are learnt by `learn`."""
        leased = []
        for lane, count in wanted.items():
            for _ in range(count):
                if chosen := self._next(lane):
                    leased.append(self._claim(chosen, ttl_s))
        return leased

    def learn(self, job_id: str, token: Token, seed: int) -> None:
        """Take the token and the seed that the store gave to the newest lease."""
        self._change(job_id, token=token, seed=seed)

    def exhausted(self, job_id: str) -> bool:
        """True when the job was leased more often than it may be tried."""
        return self.jobs[job_id].tries > self._max_tries

    def holds(self, token: Token) -> bool:
        """True while the token is the right to its job."""
        held = self.jobs[token.job_id]
        return held.status is Status.LEASED and held.token == token

    def renew(self, token: Token, ttl_s: float) -> bool:
        """Prolong a lease; one that has lapsed may be renewed until it is swept."""
        if self.holds(token):
            self._change(token.job_id, until=self._clock.monotonic() + ttl_s)
        return self.holds(token)

    def start(self, token: Token, callback: bytes | None) -> Change:
        """The work begins."""
        if not self.holds(token):
            return "lost"
        if not self.jobs[token.job_id].told:
            self._owe(token.job_id, Status.LEASED, callback)
        told = self.jobs[token.job_id].told or callback is not None
        self._change(token.job_id, started_at=self._clock.now(), told=told)
        return "ok"

    def settle(self, token: Token, end: Settlement) -> Change:
        """End a job."""
        if not self.holds(token):
            return "lost"
        held = self.jobs[token.job_id]
        self._end(token.job_id, end.status, end.callback)
        self._change(token.job_id, end=end)
        if end.dead:
            letter = DeadLetter(
                job_id=held.job.id,
                raw=held.job.payload,
                reason=end.sentence or end.code or end.status,
                code=end.code or "",
                tries=held.tries,
                at=self._clock.now(),
            )
            self.letters.append(letter)
        return "ok"

    def requeue(self, token: Token, burn: bool, delay_s: float) -> Change:
        """Give a job back."""
        if not self.holds(token):
            return "lost"
        tries = self.jobs[token.job_id].tries - (0 if burn else 1)
        self._change(token.job_id, tries=tries)
        self._give_back(token.job_id, self._clock.monotonic() + delay_s)
        return "ok"

    def cancel(self, job_id: str, callback: bytes | None) -> CancelOutcome:
        """End a waiting job, mark a leased one."""
        if job_id not in self.jobs:
            return "unknown"
        kept = self.jobs[job_id]
        if kept.status in TERMINAL:
            return "terminal"
        if kept.status is Status.LEASED:
            body = kept.cancel_body if kept.cancel_body is not None else callback
            self._change(job_id, cancel_requested=True, cancel_body=body)
            return "requested"
        self._end(job_id, Status.CANCELLED, callback)
        return "cancelled"

    def sweep(self) -> int:
        """Give back what has lapsed."""
        return self._return_until(self._clock.monotonic())

    def reopen(self) -> None:
        """The pod died: leases are given back, delays end, callbacks are due."""
        for job_id in self.jobs:
            self._change(job_id, not_before=0.0)
        self._return_until(float("inf"))
        self.rows = [msgspec.structs.replace(row, due=0.0) for row in self.rows]

    def depths(self) -> dict[Lane, Depth]:
        """How many jobs wait and are leased in each lane."""
        return {
            lane: Depth(
                waiting=self._number(lane, Status.WAITING),
                leased=self._number(lane, Status.LEASED),
            )
            for lane in Lane
        }

    def records(self) -> list[JobRecord]:
        """Every job, newest first."""
        newest = sorted(self.jobs.values(), key=lambda kept: -kept.order)
        return [kept.record() for kept in newest]

    def first_rows(self) -> list[ModelRow]:
        """The oldest callback owed of each job, by due time."""
        heads: dict[str, ModelRow] = {}
        for row in self.rows:
            heads.setdefault(row.job_id, row)
        return sorted(heads.values(), key=lambda row: (row.due, row.order))

    def due(self) -> list[ModelRow]:
        """What must be sent now, in order."""
        now = self._clock.monotonic()
        return [row for row in self.first_rows() if row.due <= now]

    def strike(self, row: ModelRow) -> None:
        """A callback is owed no more."""
        self.rows.remove(row)

    def postpone(self, row: ModelRow, delay_s: float) -> None:
        """A callback was tried and must wait."""
        due = self._clock.monotonic() + delay_s
        late = msgspec.structs.replace(row, tries=row.tries + 1, due=due)
        self.rows[self.rows.index(row)] = late

    def _next(self, lane: Lane) -> ModelJob | None:
        now = self._clock.monotonic()
        ready = [
            kept
            for kept in self.jobs.values()
            if kept.job.lane is lane and kept.status is Status.WAITING and kept.not_before <= now
        ]
        if not ready:
            return None
        best = min(kept.job.priority for kept in ready)
        if self._granted[lane] % AGEING_LEASES == AGEING_LEASES - 1:
            best = min(ready, key=lambda kept: kept.order).job.priority
        return min((kept for kept in ready if kept.job.priority == best), key=self._turn)

    def _turn(self, kept: ModelJob) -> tuple[bool, int, int]:
        """Given back before fresh; those by claim, these by when their user was last served."""
        if kept.returned:
            return False, kept.returned, 0
        return True, self._served.get(_share(kept.job), 0), kept.order

    def _claim(self, kept: ModelJob, ttl_s: float) -> ModelJob:
        self._claims += 1
        self._granted[kept.job.lane] += 1
        self._served[_share(kept.job)] = self._claims
        self._move(kept.job.id, Status.LEASED)
        until = self._clock.monotonic() + ttl_s
        return self._change(
            kept.job.id, tries=kept.tries + 1, until=until, claim=self._claims, returned=0
        )

    def _return_until(self, until: float) -> int:
        lapsed = [
            kept.job.id
            for kept in self.jobs.values()
            if kept.status is Status.LEASED and kept.until <= until
        ]
        for job_id in sorted(lapsed, key=lambda job_id: self.jobs[job_id].claim):
            self._give_back(job_id, 0.0)
        return len(lapsed)

    def _give_back(self, job_id: str, not_before: float) -> None:
        kept = self.jobs[job_id]
        if kept.cancel_requested:
            self.cancelled_by_store.append(job_id)
            self._end(job_id, Status.CANCELLED, kept.cancel_body)
            return
        self._move(job_id, Status.WAITING)
        self._change(job_id, returned=kept.claim, not_before=not_before)

    def _end(self, job_id: str, status: Status, callback: bytes | None) -> None:
        self._move(job_id, status)
        self._change(job_id, settled_at=self._clock.now())
        self._owe(job_id, status, callback)

    def _owe(self, job_id: str, status: Status, body: bytes | None) -> None:
        if body is not None:
            self._owed += 1
            row = ModelRow(order=self._owed, job_id=job_id, status=PUBLIC_STATUS[status], body=body)
            self.rows.append(row)

    def _move(self, job_id: str, status: Status) -> None:
        assert status in MOVES[self.jobs[job_id].status], "the model broke the table of moves"
        self._change(job_id, status=status)

    def _change(self, job_id: str, **changes: object) -> ModelJob:
        self.jobs[job_id] = msgspec.structs.replace(self.jobs[job_id], **changes)
        return self.jobs[job_id]

    def _number(self, lane: Lane, status: Status) -> int:
        return sum(kept.job.lane is lane and kept.status is status for kept in self.jobs.values())


def _share(job: Job) -> tuple[Lane, int, str]:
    """Whose turn a lease counts as: fairness holds within a lane and a class."""
    return job.lane, job.priority, job.user_id
