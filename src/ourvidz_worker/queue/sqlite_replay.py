"""A dead letter of the embedded queue worked anew: its job begins another life."""

import sqlite3

from msgspec.structs import replace

from ourvidz_worker.domain.errors import Conflict, NotFound
from ourvidz_worker.domain.job import Status
from ourvidz_worker.queue.sqlite_jobs import submit
from ourvidz_worker.queue.sqlite_outbox import forget_dead, owes
from ourvidz_worker.queue.sqlite_rows import RECORD_BY_ID, first, to_record

MOST_DIGITS = 18
"""Digits of a letter's number: more would not fit SQLite's 64-bit integers."""

AGAIN = frozenset({Status.FAILED, Status.CANCELLED})
"""The ends after which a job may live once more."""

NO_LETTER = "There is no dead letter of that name."
NO_JOB = "What that dead letter's job was is no longer kept."
NOT_NOW = "The job waits, is worked or has completed."
STILL_OWED = "A callback of the job's former life is still owed; it must be told or given up first."


def replay(connection: sqlite3.Connection, letter_id: str, at: float) -> str:
    """Submit the letter's job anew and take the letter out. Raises `NotFound`, `Conflict`."""
    number = int(letter_id) if _is_number(letter_id) else 0
    letter = first(connection, "SELECT job_id FROM dead_letters WHERE id = ?", number)
    if letter is None:
        raise NotFound(NO_LETTER)
    kept = first(connection, RECORD_BY_ID, letter[0])
    if kept is None:
        raise NotFound(NO_JOB)
    record = to_record(kept)
    if record.status not in AGAIN:
        raise Conflict(NOT_NOW)
    if owes(connection, record.job.id):
        raise Conflict(STILL_OWED)
    forget_dead(connection, record.job.id)
    connection.execute("DELETE FROM jobs WHERE id = ?", (record.job.id,))
    connection.execute("DELETE FROM dead_letters WHERE id = ?", (number,))
    submit(connection, replace(record.job, submitted_at=at), None, at)
    return record.job.id


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= MOST_DIGITS
