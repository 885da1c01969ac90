"""What the embedded queue keeps of the past: events, dead letters, and how much of each."""

import sqlite3
from collections.abc import Mapping

import msgspec

from ourvidz_worker.domain.errors import NotFound
from ourvidz_worker.domain.event import EventKind, JobEvent
from ourvidz_worker.queue.base import DeadLetter
from ourvidz_worker.queue.sqlite_rows import first, to_event, to_letter

KEPT_EVENTS = 512
"""The newest events of a job that are kept."""

KEPT_LETTERS = 1000
"""As the contract trims its dead letters (Q-21)."""

KEPT_JOBS = 10_000
"""Jobs that ended stay until this many newer ones were accepted."""

KEPT_HISTORIES = 1000
"""Events of a job that ended stay until this many newer jobs were accepted."""

KEPT_USERS = 10_000
"""Users without waiting jobs whose last service is remembered; an older one counts as unserved."""

BATCH = 500
"""Rows forgotten in one step: about 5 ms of the writer's time."""

Data = Mapping[str, str | int | float | bool | None]


def record(
    connection: sqlite3.Connection, job_id: str, kind: EventKind, data: Data, at: float
) -> JobEvent:
    """Append an event and drop the oldest beyond the bound. Raises `NotFound`."""
    job = first(connection, "SELECT seq FROM jobs WHERE id = ?", job_id)
    if job is None:
        raise NotFound
    (last,) = connection.execute(_LAST_EVENT, job).fetchone()
    number = last + 1
    connection.execute(_ADD_EVENT, (job[0], number, kind, at, msgspec.json.encode(data)))
    if number > KEPT_EVENTS:
        connection.execute(_TRIM_EVENTS, (job[0], number - KEPT_EVENTS))
    return JobEvent(job_id=job_id, seq=number, kind=kind, at=at, data=dict(data))


def events(connection: sqlite3.Connection, job_id: str, after: int) -> list[JobEvent]:
    """A job's kept events above `after`, in order."""
    return [to_event(job_id, row) for row in connection.execute(_EVENTS, (job_id, after))]


def bury(connection: sqlite3.Connection, letter: DeadLetter) -> None:
    """Keep a letter and drop the oldest beyond the bound."""
    values = (letter.job_id, letter.raw, letter.reason, letter.code, letter.tries, letter.at)
    connection.execute(_BURY, values)
    connection.execute(_TRIM_LETTERS, (KEPT_LETTERS,))


def dead(connection: sqlite3.Connection, limit: int) -> list[DeadLetter]:
    """The newest letters first."""
    return [to_letter(row) for row in connection.execute(_DEAD, (limit,))]


def prune(connection: sqlite3.Connection) -> None:
    """Forget one batch each of the oldest jobs that ended, of events and of users long gone."""
    connection.execute(_PRUNE_EVENTS, (KEPT_HISTORIES, BATCH))
    connection.execute(_PRUNE_JOBS, (KEPT_JOBS, BATCH))
    connection.execute(_PRUNE_TURNS, (BATCH, KEPT_USERS))


_LAST_EVENT = "SELECT coalesce(max(number), 0) FROM events WHERE job = ?"

_ADD_EVENT = "INSERT INTO events (job, number, kind, at, data) VALUES (?, ?, ?, ?, ?)"

_TRIM_EVENTS = "DELETE FROM events WHERE job = ? AND number <= ?"

_EVENTS = """
SELECT number, kind, at, data FROM events
WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND number > ? ORDER BY number
"""

_BURY = """
INSERT INTO dead_letters (job_id, raw, reason, code, tries, at) VALUES (?, ?, ?, ?, ?, ?)
"""

_TRIM_LETTERS = "DELETE FROM dead_letters WHERE id <= (SELECT max(id) FROM dead_letters) - ?"

_DEAD = """
SELECT id, job_id, raw, reason, code, tries, at FROM dead_letters ORDER BY id DESC LIMIT ?
"""

_PRUNE_EVENTS = """
DELETE FROM events WHERE (job, number) IN (
  SELECT job, number FROM events CROSS JOIN jobs ON seq = job
  WHERE job <= (SELECT max(seq) FROM jobs) - ? AND status NOT IN ('waiting', 'leased')
  LIMIT ?)
"""

_PRUNE_JOBS = """
DELETE FROM jobs WHERE seq IN (
  SELECT seq FROM jobs
  WHERE seq <= (SELECT max(seq) FROM jobs) - ? AND status NOT IN ('waiting', 'leased')
  LIMIT ?)
"""

_PRUNE_TURNS = """
DELETE FROM turns WHERE (lane, class, user_id) IN (
  SELECT lane, class, user_id FROM turns WHERE head IS NULL
  ORDER BY served DESC LIMIT ? OFFSET ?)
"""
