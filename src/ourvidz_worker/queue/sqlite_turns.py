"""Whose turn it is: which waiting job of a lane is leased next, and its lease.

Within a lane, by class; within a class, first the jobs that were given back (in the order they had
been claimed), then the user who was served longest ago, then first in, first out. So that no class
waits for ever, every ninth lease of a lane begins with the class of its longest waiting job.
"""

import sqlite3
from collections.abc import Mapping

import msgspec

from ourvidz_worker.domain.job import Lease, Token
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue.seeds import draw_seed
from ourvidz_worker.queue.sqlite_rows import RECORD_BY_SEQ, first, to_record

AGEING_LEASES = 9
"""A class that others pass over has at least every ninth lease of its lane."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What every lease of one call shares; times are monotonic seconds."""

    owner: str
    now: float
    until: float
    max_tries: int


def grant(connection: sqlite3.Connection, wanted: Mapping[Lane, int], terms: Terms) -> list[Lease]:
    """Lease at most `wanted[lane]` jobs of each lane, in order."""
    leases: list[Lease] = []
    for lane, count in wanted.items():
        for _ in range(count):
            lease = _grant_next(connection, lane, terms)
            if lease is None:
                break
            leases.append(lease)
    return leases


def enter(connection: sqlite3.Connection, lane: str, priority: int, user_id: str, seq: int) -> None:
    """A new job waits: it is its user's first if no other one waits."""
    connection.execute(_ENTER, (lane, priority, user_id, seq))


def leave(connection: sqlite3.Connection, lane: str, priority: int, user_id: str) -> None:
    """A job that was never leased waits no more: find its user's first again."""
    _set_turn(connection, lane, priority, user_id, served=0)


def _grant_next(connection: sqlite3.Connection, lane: Lane, terms: Terms) -> Lease | None:
    least = _least_class(connection, lane, terms.now)
    back = first(connection, _NEXT_RETURNED, lane, least, terms.now)
    fresh = first(connection, _NEXT_FRESH, lane, least)
    if back is None and fresh is None:
        return None
    if fresh is None or (back is not None and back[0] <= fresh[0]):
        chosen, seed = back, None
    else:
        chosen, seed = fresh, draw_seed()
    return _take(connection, (chosen or ())[1], seed, terms)


def _least_class(connection: sqlite3.Connection, lane: Lane, now: float) -> int:
    """The class to begin with: the best, or in its turn that of the longest waiting job."""
    counted = first(connection, "SELECT value FROM counters WHERE name = ?", lane)
    if counted is None or counted[0] % AGEING_LEASES != AGEING_LEASES - 1:
        return 0
    oldest = first(connection, _OLDEST_CLASS, lane, lane, now)
    return int(oldest[0]) if oldest else 0


def _take(connection: sqlite3.Connection, seq: int, seed: int | None, terms: Terms) -> Lease:
    fence = _count(connection, "fence")
    connection.execute(_LEASE, (terms.owner, fence, terms.until, seed, seq))
    record = to_record(connection.execute(RECORD_BY_SEQ, (seq,)).fetchone())
    job = record.job
    _set_turn(connection, job.lane, job.priority, job.user_id, served=fence)
    _count(connection, job.lane)
    return Lease(
        job=job,
        token=Token(job.id, fence),
        tries=record.tries,
        seed=record.seed or 0,
        exhausted=record.tries > terms.max_tries,
    )


def _set_turn(
    connection: sqlite3.Connection, lane: str, priority: int, user_id: str, *, served: int
) -> None:
    connection.execute(_TURN, (served, *(lane, priority, user_id) * 2))


def _count(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(_COUNT, (name,)).fetchone()[0])


_ENTER = """
INSERT INTO turns (lane, class, user_id, head) VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET head = coalesce(head, excluded.head)
"""

_TURN = """
UPDATE turns SET served = max(served, ?), head = (
  SELECT min(seq) FROM jobs
  WHERE lane = ? AND class = ? AND user_id = ? AND returned = 0 AND status = 'waiting')
WHERE lane = ? AND class = ? AND user_id = ?
"""

_NEXT_RETURNED = """
SELECT class, seq FROM jobs
WHERE lane = ? AND class >= ? AND returned > 0 AND not_before <= ? AND status = 'waiting'
ORDER BY class, returned LIMIT 1
"""

_NEXT_FRESH = """
SELECT class, head FROM turns WHERE lane = ? AND class >= ? AND head IS NOT NULL
ORDER BY class, served, head LIMIT 1
"""

_OLDEST_CLASS = """
SELECT class, head FROM turns WHERE lane = ? AND head IS NOT NULL
UNION ALL
SELECT class, seq FROM jobs
WHERE lane = ? AND returned > 0 AND not_before <= ? AND status = 'waiting'
ORDER BY 2 LIMIT 1
"""

_LEASE = """
UPDATE jobs SET status = 'leased', owner = ?, fence = ?, lease_until = ?, tries = tries + 1,
  seed = coalesce(seed, ?)
WHERE seq = ?
"""

_COUNT = """
INSERT INTO counters (name, value) VALUES (?, 1)
ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value
"""
