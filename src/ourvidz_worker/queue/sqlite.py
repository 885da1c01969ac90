"""The embedded queue: one SQLite file in the state folder, no server, one pod.

Jobs, leases, results and the callbacks owed share the file, so each verb is one transaction.
"""

import sqlite3
from collections.abc import Mapping, Sequence

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.event import EventKind, JobEvent
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import TERMINAL, Job, Lease, Status, Token
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import sqlite_history, sqlite_jobs, sqlite_outbox, sqlite_replay
from ourvidz_worker.queue.base import (
    CallbackRow,
    CancelOutcome,
    DeadCallback,
    DeadLetter,
    JobRecord,
    Settlement,
    SubmitOutcome,
)
from ourvidz_worker.queue.bell import Bell
from ourvidz_worker.queue.settings import QueueSettings
from ourvidz_worker.queue.sqlite_rows import RECORD_BY_ID, first, to_record
from ourvidz_worker.queue.sqlite_store import Safety, SqliteStore
from ourvidz_worker.queue.sqlite_turns import Terms, grant


class SqliteQueue:
    """`Queue` and `Outbox` on the file `queue.sqlite` in the state folder.

    Claims, renewals, starts and events may be lost in a power cut (the job then waits again);
    everything else is synced before it is answered. A lease tried more than `max_tries` times is
    handed out as exhausted. Delays and due times do not outlive the pod: opening ends them.
    """

    def __init__(self, settings: QueueSettings, clock: Clock) -> None:
        """Remember the folder; nothing is touched before `open`."""
        self._store = SqliteStore(settings.state_dir)
        self._clock = clock
        self._max_tries = settings.max_tries
        self._bell = Bell(clock)

    async def open(self) -> None:
        """Take the folder and give back every lease. Raises `ConfigError`, `QueueUnavailable`."""
        await self._store.open()
        await self._store.do(Safety.FULL, sqlite_jobs.restart, self._clock.now())
        self._bell.ring()

    async def close(self) -> None:
        """Finish the work at hand and let the folder go."""
        await self._store.close()

    async def submit(self, job: Job, *, callback: bytes | None = None) -> SubmitOutcome:
        """Accept a job durably."""
        outcome = await self._store.do(
            Safety.FULL, sqlite_jobs.submit, job, callback, self._clock.now()
        )
        if outcome == "accepted":
            self._bell.ring()
        return outcome

    async def lease(self, owner: str, wanted: Mapping[Lane, int], ttl_s: float) -> list[Lease]:
        """Lease at most `wanted[lane]` jobs of each lane."""
        if not any(wanted.values()):
            return []
        now = self._clock.monotonic()
        terms = Terms(owner=owner, now=now, until=now + ttl_s, max_tries=self._max_tries)
        return await self._store.do(Safety.NORMAL, grant, dict(wanted), terms)

    async def renew(self, tokens: Sequence[Token], ttl_s: float) -> list[bool]:
        """Renew leases to `ttl_s` from now."""
        until = self._clock.monotonic() + ttl_s
        return await self._store.do(Safety.NORMAL, sqlite_jobs.renew, tuple(tokens), until)

    async def start(self, token: Token, *, callback: bytes | None = None) -> None:
        """Note that the work begins."""
        await self._store.do(Safety.NORMAL, sqlite_jobs.start, token, callback, self._clock.now())

    async def settle(self, token: Token, end: Settlement) -> None:
        """End a job."""
        await self._store.do(Safety.FULL, sqlite_jobs.settle, token, end, self._clock.now())

    async def requeue(self, token: Token, *, burn: bool, delay_s: float = 0.0) -> None:
        """Give a job back to the front, after `delay_s`."""
        ready = self._clock.monotonic() + delay_s
        await self._store.do(
            Safety.FULL, sqlite_jobs.requeue, token, burn, ready, self._clock.now()
        )
        self._bell.ring_at(ready)

    async def cancel(self, job_id: str, *, callback: bytes | None = None) -> CancelOutcome:
        """Cancel a job; `callback` is owed when the job ends without its holder."""
        return await self._store.do(
            Safety.FULL, sqlite_jobs.cancel, job_id, callback, self._clock.now()
        )

    async def sweep(self) -> int:
        """Give back lapsed leases, then forget a little of what is old."""
        count = await self._store.do(
            Safety.FULL, sqlite_jobs.sweep, self._clock.monotonic(), self._clock.now()
        )
        if count:
            self._bell.ring()
        await self._store.do(Safety.NORMAL, sqlite_history.prune)
        return count

    async def depths(self) -> dict[Lane, Depth]:
        """The depth of every lane."""
        return await self._store.do(Safety.READ, _depths)

    async def find(self, job_id: str) -> JobRecord | None:
        """One job, or None."""
        return await self._store.do(Safety.READ, _find, job_id)

    async def recent(
        self, *, status: Status | None = None, user_id: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """The newest jobs first."""
        return await self._store.do(Safety.READ, _recent, status, user_id, limit)

    async def bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter."""
        await self._store.do(Safety.FULL, sqlite_history.bury, letter)

    async def dead(self, limit: int = 50) -> list[DeadLetter]:
        """The newest dead letters first."""
        return await self._store.do(Safety.READ, sqlite_history.dead, limit)

    async def replay(self, letter_id: str) -> str | None:
        """Submit a dead letter's job anew. Raises `NotFound`, `Conflict`."""
        job_id = await self._store.do(
            Safety.FULL, sqlite_replay.replay, letter_id, self._clock.now()
        )
        self._bell.ring()
        return job_id

    async def record(
        self, job_id: str, kind: EventKind, data: Mapping[str, str | int | float | bool | None]
    ) -> JobEvent:
        """Append one event. Raises `NotFound` for a job that is not kept."""
        return await self._store.do(
            Safety.NORMAL, sqlite_history.record, job_id, kind, dict(data), self._clock.now()
        )

    async def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """A job's kept events above `after`."""
        return await self._store.do(Safety.READ, sqlite_history.events, job_id, after)

    async def changed(self, timeout_s: float) -> bool:
        """Wait until work may have become leasable."""
        return await self._bell.wait(timeout_s)

    async def due(self, limit: int) -> list[CallbackRow]:
        """Callbacks to send now."""
        now = self._clock.monotonic()
        return await self._store.do(Safety.READ, sqlite_outbox.due, limit, now)

    async def next_due_in(self) -> float | None:
        """Seconds until a callback is due."""
        at = await self._store.do(Safety.READ, sqlite_outbox.next_due)
        return None if at is None else max(0.0, at - self._clock.monotonic())

    async def delivered(self, row: CallbackRow) -> None:
        """Strike a callback out."""
        await self._store.do(Safety.FULL, sqlite_outbox.strike, row)

    async def postpone(self, row: CallbackRow, delay_s: float, error: str) -> None:
        """Count a try and send again after `delay_s`."""
        due_at = self._clock.monotonic() + delay_s
        await self._store.do(Safety.FULL, sqlite_outbox.postpone, row, due_at, error)

    async def give_up(self, row: CallbackRow, reason: str) -> None:
        """Move a callback to the dead ones."""
        await self._store.do(Safety.FULL, sqlite_outbox.give_up, row, reason, self._clock.now())

    async def dead_callbacks(self, limit: int = 50) -> list[DeadCallback]:
        """The newest dead callbacks first."""
        return await self._store.do(Safety.READ, sqlite_outbox.dead, limit)

    async def revive(self, callback_id: int) -> bool:
        """Owe a dead callback again. Raises `Conflict` for one that would come too late."""
        return await self._store.do(Safety.FULL, _revive, callback_id, self._clock.now())

    async def owed(self) -> int:
        """How many callbacks are owed."""
        return await self._store.do(Safety.READ, sqlite_outbox.owed)


def _depths(connection: sqlite3.Connection) -> dict[Lane, Depth]:
    waiting = dict(connection.execute(_WAITING).fetchall())
    leased = dict(connection.execute(_LEASED).fetchall())
    return {lane: Depth(waiting=waiting.get(lane, 0), leased=leased.get(lane, 0)) for lane in Lane}


def _find(connection: sqlite3.Connection, job_id: str) -> JobRecord | None:
    row = first(connection, RECORD_BY_ID, job_id)
    return None if row is None else to_record(row)


def _recent(
    connection: sqlite3.Connection, status: Status | None, user_id: str | None, limit: int
) -> list[JobRecord]:
    values = {"status": status, "user_id": user_id, "limit": limit}
    return [to_record(row) for row in connection.execute(_RECENT, values).fetchall()]


def _revive(connection: sqlite3.Connection, callback_id: int, at: float) -> bool:
    found = sqlite_outbox.find_dead(connection, callback_id)
    if found is None:
        return False
    record = _find(connection, found.job_id)
    is_over = record is None or record.status in TERMINAL
    sqlite_outbox.revive(connection, found, is_over=is_over)
    values = (found.id, found.job_id, found.status, found.body, at)
    connection.execute(_OWE_AGAIN, values)
    sqlite_outbox.revived(connection, found.job_id)
    return True


_OWE_AGAIN = """
INSERT INTO outbox (id, job_id, status, body, created_at, first) VALUES (?, ?, ?, ?, ?, 0)
"""

_WAITING = "SELECT lane, count(*) FROM jobs WHERE status = 'waiting' GROUP BY lane"

_LEASED = "SELECT lane, count(*) FROM jobs WHERE status = 'leased' GROUP BY lane"

_RECENT = """
SELECT * FROM records
WHERE (:status IS NULL OR status = :status) AND (:user_id IS NULL OR user_id = :user_id)
ORDER BY seq DESC LIMIT :limit
"""
