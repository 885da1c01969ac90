"""The callbacks owed by the embedded queue: one row each, sent in order within a job."""

import sqlite3

from ourvidz_worker.domain.errors import Conflict
from ourvidz_worker.domain.job import PUBLIC_STATUS, TERMINAL
from ourvidz_worker.queue.base import CallbackRow, DeadCallback
from ourvidz_worker.queue.sqlite_rows import first, to_callback, to_dead_callback

KEPT_DEAD_CALLBACKS = 1000

ENDS = frozenset(PUBLIC_STATUS[status] for status in TERMINAL)
"""What a job's last callback may tell; the others tell of its course."""


def owe(
    connection: sqlite3.Connection, job_id: str, status: str, body: bytes | None, at: float
) -> None:
    """Owe `body` from now on (wall clock `at`), after all that the job owes already."""
    if body is not None:
        connection.execute(_OWE, (job_id, status, body, at, job_id))


def due(connection: sqlite3.Connection, limit: int, now: float) -> list[CallbackRow]:
    """Rows whose time (monotonic) has come, longest due first; only the first of each job."""
    return [to_callback(row) for row in connection.execute(_DUE, (now, limit)).fetchall()]


def next_due(connection: sqlite3.Connection) -> float | None:
    """When (monotonic) the next row is due, or None."""
    row = first(connection, "SELECT min(due) FROM outbox WHERE first = 1")
    return row[0] if row else None


def strike(connection: sqlite3.Connection, row: CallbackRow) -> bool:
    """Take a row out; the job's next one may go. False when it was out already."""
    gone = connection.execute("DELETE FROM outbox WHERE id = ?", (row.id,)).rowcount
    connection.execute(_PROMOTE, (row.job_id,))
    return gone == 1


def postpone(connection: sqlite3.Connection, row: CallbackRow, due_at: float, error: str) -> None:
    """Count a try and wait until `due_at` (monotonic) for the next."""
    connection.execute(_POSTPONE, (due_at, error, row.id))


def give_up(connection: sqlite3.Connection, row: CallbackRow, reason: str, at: float) -> None:
    """Move a row to the dead callbacks, of which the newest thousand are kept."""
    connection.execute(_KEEP_DEAD, (at, reason, row.id))
    if strike(connection, row):
        connection.execute(_TRIM_DEAD, (KEPT_DEAD_CALLBACKS,))


def dead(connection: sqlite3.Connection, limit: int) -> list[DeadCallback]:
    """The newest dead callbacks first."""
    return [to_dead_callback(row) for row in connection.execute(_DEAD, (limit,)).fetchall()]


def find_dead(connection: sqlite3.Connection, row_id: int) -> DeadCallback | None:
    """One dead callback, or None."""
    row = first(connection, _FIND_DEAD, row_id)
    return None if row is None else to_dead_callback(row)


def revive(connection: sqlite3.Connection, found: DeadCallback, *, is_over: bool) -> None:
    """Check that a dead callback is not too late, and take it out; its owner owes it again.

    `is_over` says that its job has ended. Raises `Conflict`.
    """
    later = first(connection, _LATER, *(found.job_id, found.id) * 2)
    if found.status not in ENDS and is_over and later is None:
        raise Conflict("The end of that job was told already; this would come too late.")
    connection.execute("DELETE FROM dead_callbacks WHERE id = ?", (found.id,))


def revived(connection: sqlite3.Connection, job_id: str) -> None:
    """A row of the job has come back to its old place: mark which one goes first."""
    connection.execute(_ORDER, (job_id, job_id))


def owes(connection: sqlite3.Connection, job_id: str) -> bool:
    """True while something is owed for the job."""
    return first(connection, "SELECT 1 FROM outbox WHERE job_id = ? LIMIT 1", job_id) is not None


def forget_dead(connection: sqlite3.Connection, job_id: str) -> None:
    """Forget the dead callbacks of a job's former life."""
    connection.execute("DELETE FROM dead_callbacks WHERE job_id = ?", (job_id,))


def replay(connection: sqlite3.Connection) -> None:
    """Make every row due now: what a dead pod postponed is tried again at start."""
    connection.execute("UPDATE outbox SET due = 0 WHERE due > 0")


def owed(connection: sqlite3.Connection) -> int:
    """How many rows there are."""
    return int(connection.execute("SELECT count(*) FROM outbox").fetchone()[0])


_OWE = """
INSERT INTO outbox (job_id, status, body, created_at, first)
VALUES (?, ?, ?, ?, NOT EXISTS (SELECT 1 FROM outbox WHERE job_id = ?))
"""

_DUE = """
SELECT id, job_id, status, body, tries, created_at FROM outbox
WHERE first = 1 AND due <= ? ORDER BY due, id LIMIT ?
"""

_PROMOTE = """
UPDATE outbox SET first = 1 WHERE id = (SELECT min(id) FROM outbox WHERE job_id = ?) AND first = 0
"""

_POSTPONE = "UPDATE outbox SET tries = tries + 1, due = ?, error = ? WHERE id = ?"

_KEEP_DEAD = """
INSERT OR REPLACE INTO dead_callbacks (id, job_id, status, body, tries, created_at, at, reason)
SELECT id, job_id, status, body, tries, created_at, ?, ? FROM outbox WHERE id = ?
"""

_TRIM_DEAD = """
DELETE FROM dead_callbacks WHERE id IN (
  SELECT id FROM dead_callbacks ORDER BY at DESC, id DESC LIMIT -1 OFFSET ?)
"""

_DEAD = """
SELECT id, job_id, status, body, tries, created_at, at, reason FROM dead_callbacks
ORDER BY at DESC, id DESC LIMIT ?
"""

_FIND_DEAD = """
SELECT id, job_id, status, body, tries, created_at, at, reason FROM dead_callbacks WHERE id = ?
"""

_LATER = """
SELECT 1 FROM outbox WHERE job_id = ? AND id > ?
UNION ALL
SELECT 1 FROM dead_callbacks WHERE job_id = ? AND id > ?
"""

_ORDER = """
UPDATE outbox SET first = (id = (SELECT min(id) FROM outbox WHERE job_id = ?)) WHERE job_id = ?
"""
