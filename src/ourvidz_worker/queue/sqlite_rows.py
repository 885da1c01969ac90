"""Rows of the embedded queue as the port's values, and back."""

import sqlite3
from typing import Any

import msgspec

from ourvidz_worker.domain.artifact import Asset, Facts, Metadata
from ourvidz_worker.domain.event import EventKind, JobEvent
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue.base import (
    CallbackRow,
    DeadCallback,
    DeadLetter,
    JobRecord,
    Settlement,
)

Row = tuple[Any, ...]

RECORD_BY_ID = "SELECT * FROM records WHERE id = ?"
RECORD_BY_SEQ = "SELECT * FROM records WHERE seq = ?"

_ASSETS = msgspec.json.Decoder(tuple[Asset, ...])
_RECEIPT = msgspec.json.Decoder(Receipt)
_FLAT = msgspec.json.Decoder(Metadata)
_FACTS = msgspec.json.Decoder(Facts)


def to_record(row: Row) -> JobRecord:
    """All of a job from a row of the view `records`; what an end holds is empty before it."""
    _, job_id, kind, user_id, lane, priority, payload, submitted_at = row[:8]
    status, tries, seed, started_at, settled_at, cancel_requested = row[8:14]
    assets, receipt, code, sentence, facts = row[14:]
    return JobRecord(
        job=Job(
            id=job_id,
            type=kind,
            user_id=user_id,
            lane=Lane(lane),
            priority=PriorityClass(priority),
            payload=payload,
            submitted_at=submitted_at,
        ),
        status=Status(status),
        tries=tries,
        seed=seed,
        started_at=started_at,
        settled_at=settled_at,
        cancel_requested=bool(cancel_requested),
        assets=_ASSETS.decode(assets) if assets else (),
        receipt=_RECEIPT.decode(receipt) if receipt else None,
        code=code,
        sentence=sentence,
        facts=_FACTS.decode(facts) if facts else {},
    )


def to_callback(row: Row) -> CallbackRow:
    """A callback owed, columns id, job_id, status, body, tries, created_at."""
    row_id, job_id, status, body, tries, created_at = row
    return CallbackRow(
        id=row_id, job_id=job_id, status=status, body=body, tries=tries, created_at=created_at
    )


def to_letter(row: Row) -> DeadLetter:
    """A dead letter, columns id, job_id, raw, reason, code, tries, at."""
    number, job_id, raw, reason, code, tries, at = row
    return DeadLetter(
        id=str(number), job_id=job_id, raw=raw, reason=reason, code=code, tries=tries, at=at
    )


def to_dead_callback(row: Row) -> DeadCallback:
    """A callback given up, columns id, job_id, status, body, tries, created_at, at, reason."""
    row_id, job_id, status, body, tries, created_at, at, reason = row
    return DeadCallback(
        id=row_id,
        job_id=job_id,
        status=status,
        body=body,
        tries=tries,
        created_at=created_at,
        at=at,
        reason=reason,
    )


def to_event(job_id: str, row: Row) -> JobEvent:
    """An event columns number, kind, at, data."""
    number, kind, at, data = row
    return JobEvent(job_id=job_id, seq=number, kind=EventKind(kind), at=at, data=_FLAT.decode(data))


def end_columns(end: Settlement) -> Row:
    """What the table `ends` keeps: code, sentence, facts, assets, receipt."""
    return (
        end.code,
        end.sentence,
        msgspec.json.encode(end.facts),
        msgspec.json.encode(end.assets),
        msgspec.json.encode(end.receipt) if end.receipt is not None else None,
    )


def first(connection: sqlite3.Connection, sql: str, *values: object) -> Row | None:
    """The first row, or None; every other row is read past, so that the statement is over."""
    rows: list[Row] = connection.execute(sql, values).fetchall()
    return rows[0] if rows else None
