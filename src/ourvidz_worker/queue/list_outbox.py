"""The callbacks a pod owes for jobs of the lists: its own SQLite file, and the records in Redis.

The record of a job that ended holds the body that is owed, so it can be fetched from there: by
this pod after a crash, by another one when this pod is dead. What this file holds is what was
synced before the first try (contract K-11). Before a row is sent, Redis is asked whether it is
still this pod's to tell; one that is not was superseded and is struck out.
"""

import logging
import math
import secrets
import sqlite3
from collections.abc import Sequence

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.job import PUBLIC_STATUS, TERMINAL, Status
from ourvidz_worker.queue import sqlite_outbox
from ourvidz_worker.queue.base import CallbackRow, DeadCallback
from ourvidz_worker.queue.letters import write_dead_callback
from ourvidz_worker.queue.records import to_kept
from ourvidz_worker.queue.sqlite_rows import first, to_callback
from ourvidz_worker.queue.sqlite_store import Safety, SqliteStore
from ourvidz_worker.queue.steps import Steps
from ourvidz_worker.queue.wire import optional
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

FILE = "outbox.sqlite"
SCHEMA = "outbox.sql"
PROCESSING = PUBLIC_STATUS[Status.LEASED]
REVIVED = "revived:"
"""Begins the nonce of a row that an operator wants told: no record is asked whether it is owed."""

AT_ONCE = 256
"""Rows asked about in one step."""

Row = tuple[str, str, str, bytes]
"""A callback owed: job, public status, nonce, body."""


class ListOutbox:
    """`Outbox` for jobs of the lists."""

    def __init__(self, store: SqliteStore, steps: Steps, clock: Clock) -> None:
        """Take the parts; nothing is touched before `open`."""
        self._store = store
        self._steps = steps
        self._clock = clock

    async def open(self) -> str:
        """Take the state folder; the name of this pod. Raises `ConfigError`, `QueueUnavailable`."""
        await self._store.open()
        return await self._store.do(Safety.FULL, _name)

    async def replay(self) -> None:
        """Make every row due, and fetch what only the records know of."""
        await self.reconcile()
        await self._store.do(Safety.FULL, sqlite_outbox.replay)

    async def close(self) -> None:
        """Let the folder go."""
        await self._store.close()

    async def owe(self, rows: Sequence[Row], *, due: float = 0.0) -> None:
        """Owe callbacks, durably; one that is owed already is not owed twice."""
        if rows:
            await self._store.do(Safety.FULL, _owe, rows, due, self._clock.now())

    async def release(self, row: Row, *, owed: bool) -> None:
        """A row that waited for Redis is owed now, or never was."""
        await self._store.do(Safety.FULL, _release, row, owed)

    async def reconcile(self) -> None:
        """Fetch from the records what this pod owes and does not know of."""
        owed = {(job, status, nonce) for job, status, _, nonce in await self._owed_by_records()}
        known = set(await self._store.do(Safety.READ, _known))
        missing = sorted({job for job, _, _ in owed - known})
        for start in range(0, len(missing), AT_ONCE):
            found = await self._owed_by_records(*missing[start : start + AT_ONCE])
            await self.owe([(job, status, nonce, body) for job, status, body, nonce in found])

    async def due(self, limit: int) -> list[CallbackRow]:
        """Rows that are this pod's to tell now; the others are struck out."""
        while True:
            rows = await self._store.do(Safety.READ, _due, limit, self._clock.monotonic())
            lost = await self._superseded(rows)
            if not lost:
                return [row for row, _ in rows]
            await self._store.do(Safety.FULL, _strike_all, lost)

    async def next_due_in(self) -> float | None:
        """Seconds until the next row is due."""
        due = await self._store.do(Safety.READ, sqlite_outbox.next_due)
        if due is None or due == math.inf:
            return None
        return max(0.0, due - self._clock.monotonic())

    async def delivered(self, row: CallbackRow) -> None:
        """Note it in the record, then strike the row."""
        await self._end(row, None)
        await self._store.do(Safety.FULL, sqlite_outbox.strike, row)

    async def postpone(self, row: CallbackRow, delay_s: float, error: str) -> None:
        """Count a try and set the next one."""
        due = self._clock.monotonic() + delay_s
        await self._store.do(Safety.FULL, sqlite_outbox.postpone, row, due, error)

    async def give_up(self, row: CallbackRow, reason: str) -> None:
        """Note it in the record, then move the row to the dead callbacks."""
        now = self._clock.now()
        await self._end(row, write_dead_callback(row, reason, now))
        await self._store.do(Safety.FULL, sqlite_outbox.give_up, row, reason, now)

    async def dead(self, limit: int) -> list[DeadCallback]:
        """What this pod gave up, the newest first."""
        return await self._store.do(Safety.READ, sqlite_outbox.dead, limit)

    async def revive(self, callback_id: int) -> bool:
        """Owe one of them again; its copy in `callback:dead` stays. Raises `Conflict`."""
        found = await self._store.do(Safety.READ, sqlite_outbox.find_dead, callback_id)
        if found is None:
            return False
        kept = to_kept(await self._steps.run("find", found.job_id))
        is_over = not kept or Status(kept[b"status"].decode()) in TERMINAL
        now = self._clock.now()
        return await self._store.do(Safety.FULL, _revive, callback_id, is_over, now)

    async def forget_dead(self, job_id: str) -> None:
        """Forget what was given up of a job's former life."""
        await self._store.do(Safety.FULL, sqlite_outbox.forget_dead, job_id)

    async def owed(self) -> int:
        """How many callbacks are owed."""
        return await self._store.do(Safety.READ, sqlite_outbox.owed)

    async def _owed_by_records(self, *jobs: str) -> list[tuple[str, str, bytes, str]]:
        rows = await self._steps.run("owed", *jobs)
        return [read_row(row) for row in rows]

    async def _superseded(self, rows: Sequence[tuple[CallbackRow, str]]) -> list[CallbackRow]:
        """Of rows with their nonces, those that are no more this pod's to tell."""
        lost = []
        rows = [(row, nonce) for row, nonce in rows if not nonce.startswith(REVIVED)]
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            asked = [text for row, nonce in some for text in (row.job_id, row.status, nonce)]
            ours = await self._steps.run("check", *asked)
            lost += [row for (row, _), is_ours in zip(some, ours, strict=True) if not is_ours]
        for row in lost:
            fields = {
                "action": Action.CALLBACK_SUPERSEDED,
                "job_id": row.job_id,
                "status": row.status,
            }
            log.warning("not ours to tell any more", extra=fields)
        return lost

    async def _end(self, row: CallbackRow, dead: bytes | None) -> None:
        nonce = await self._store.do(Safety.READ, _nonce, row)
        if nonce is not None:
            await self._steps.run("tell", row.job_id, row.status, nonce, optional(dead))


def read_row(row: Sequence[bytes]) -> tuple[str, str, bytes, str]:
    """Job, status, body and nonce of what a script says is owed."""
    job, status, body, nonce = row
    return job.decode(), status.decode(), body, nonce.decode()


def _name(connection: sqlite3.Connection) -> str:
    kept = first(connection, "SELECT name FROM pod")
    if kept is not None:
        return str(kept[0])
    name = secrets.token_hex(8)
    connection.execute("INSERT INTO pod (name) VALUES (?)", (name,))
    return name


def _owe(connection: sqlite3.Connection, rows: Sequence[Row], due: float, at: float) -> None:
    for job, status, nonce, body in rows:
        connection.execute(_OWE, (job, status, nonce, body, at, due, job))


def _release(connection: sqlite3.Connection, row: Row, owed: bool) -> None:
    found = first(connection, _FIND, *row[:3])
    if found is None:
        return
    if owed:
        connection.execute("UPDATE outbox SET due = 0 WHERE id = ?", found[:1])
    else:
        sqlite_outbox.strike(connection, to_callback(found))


def _known(connection: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return connection.execute("SELECT job_id, status, nonce FROM outbox").fetchall()


def _due(connection: sqlite3.Connection, limit: int, now: float) -> list[tuple[CallbackRow, str]]:
    rows = connection.execute(_DUE, (now, limit)).fetchall()
    return [(to_callback(row[:-1]), row[-1]) for row in rows]


def _strike_all(connection: sqlite3.Connection, rows: Sequence[CallbackRow]) -> None:
    for row in rows:
        sqlite_outbox.strike(connection, row)


def _nonce(connection: sqlite3.Connection, row: CallbackRow) -> str | None:
    kept = first(connection, "SELECT nonce FROM outbox WHERE id = ?", row.id)
    return None if kept is None else str(kept[0])


def _revive(connection: sqlite3.Connection, callback_id: int, is_over: bool, at: float) -> bool:
    found = sqlite_outbox.find_dead(connection, callback_id)
    if found is None:
        return False
    sqlite_outbox.revive(connection, found, is_over=is_over)
    nonce = f"{REVIVED}{found.id}"
    values = (found.id, found.job_id, found.status, nonce, found.body, at)
    connection.execute(_OWE_AGAIN, values)
    sqlite_outbox.revived(connection, found.job_id)
    return True


_OWE_AGAIN = """
INSERT INTO outbox (id, job_id, status, nonce, body, created_at, first)
VALUES (?, ?, ?, ?, ?, ?, 0)
"""

_OWE = """
INSERT INTO outbox (job_id, status, nonce, body, created_at, due, first)
VALUES (?, ?, ?, ?, ?, ?, NOT EXISTS (SELECT 1 FROM outbox WHERE job_id = ?))
ON CONFLICT DO NOTHING
"""

_FIND = """
SELECT id, job_id, status, body, tries, created_at FROM outbox
WHERE job_id = ? AND status = ? AND nonce = ?
"""

_DUE = """
SELECT id, job_id, status, body, tries, created_at, nonce FROM outbox
WHERE first = 1 AND due <= ? ORDER BY due, id LIMIT ?
"""
