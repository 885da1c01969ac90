"""A job's moves in the embedded queue, each a function that runs in one transaction.

Every move after a lease names the token; a token out of date raises `LeaseLost` before anything
is written. `at` is wall clock, `now`, `until` and `not_before` are monotonic, all in seconds.
"""

import math
import sqlite3
from collections.abc import Sequence

import msgspec

from ourvidz_worker.domain.errors import Conflict, LeaseLost
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import PUBLIC_STATUS, TERMINAL, Job, Status, Token
from ourvidz_worker.queue.base import CancelOutcome, DeadLetter, Settlement, SubmitOutcome
from ourvidz_worker.queue.sqlite_history import bury, record
from ourvidz_worker.queue.sqlite_outbox import owe, replay
from ourvidz_worker.queue.sqlite_rows import end_columns, first
from ourvidz_worker.queue.sqlite_turns import enter, leave

FENCE_LEAP = 1 << 20
"""Added to the fence at every start: more than a power cut can take of claims not yet synced."""


def submit(
    connection: sqlite3.Connection, job: Job, callback: bytes | None, at: float
) -> SubmitOutcome:
    """Accept a job, or find it accepted. Raises `Conflict` when its id has another payload."""
    kept = first(connection, _KEPT, job.id)
    if kept is not None:
        if kept[0] != job.payload:
            raise Conflict("A job with this id and other content exists.", field="id")
        return "existing"
    values = (job.id, job.type, job.lane, job.priority, job.user_id, job.submitted_at)
    seq = connection.execute(_ADD, values).lastrowid or 0
    connection.execute("INSERT INTO bodies (job, payload) VALUES (?, ?)", (seq, job.payload))
    enter(connection, job.lane, job.priority, job.user_id, seq)
    owe(connection, job.id, PUBLIC_STATUS[Status.WAITING], callback, at)
    return "accepted"


def renew(connection: sqlite3.Connection, tokens: Sequence[Token], until: float) -> list[bool]:
    """Let the leases end at `until`; False where the token is out of date."""
    return [
        connection.execute(_RENEW, (until, token.job_id, token.fence)).rowcount == 1
        for token in tokens
    ]


def start(connection: sqlite3.Connection, token: Token, callback: bytes | None, at: float) -> None:
    """Note that the work began and owe `callback`, once a job."""
    held = _held(connection, token)
    told = held.start_told or callback is not None
    connection.execute(_START, (at, told, held.seq))
    if not held.start_told:
        owe(connection, held.job_id, PUBLIC_STATUS[Status.LEASED], callback, at)


def settle(connection: sqlite3.Connection, token: Token, end: Settlement, at: float) -> None:
    """End a job with all of `end`."""
    held = _held(connection, token)
    connection.execute(_FINISH, (end.status, at, held.seq))
    connection.execute(_ADD_END, (held.seq, *end_columns(end)))
    owe(connection, held.job_id, PUBLIC_STATUS[end.status], end.callback, at)
    if end.dead:
        (raw,) = connection.execute(_PAYLOAD, (held.seq,)).fetchone()
        bury(connection, _letter(held, raw, end, at))


def requeue(
    connection: sqlite3.Connection, token: Token, burn: bool, not_before: float, at: float
) -> None:
    """Give a job back to the front until `not_before`, counting the try or not."""
    held = _held(connection, token)
    if not burn:
        connection.execute("UPDATE jobs SET tries = tries - 1 WHERE seq = ?", (held.seq,))
    _give_back(connection, held, not_before, at)


def sweep(connection: sqlite3.Connection, now: float, at: float) -> int:
    """Give back the leases that have ended; return how many."""
    lapsed = [_Held(*row) for row in connection.execute(_LAPSED, (now,)).fetchall()]
    for held in lapsed:
        _give_back(connection, held, 0.0, at)
    return len(lapsed)


def restart(connection: sqlite3.Connection, at: float) -> int:
    """Begin a pod's life: give back every lease, end every delay, make every callback due."""
    connection.execute("UPDATE counters SET value = value + ? WHERE name = 'fence'", (FENCE_LEAP,))
    connection.execute(_END_DELAYS)
    replay(connection)
    return sweep(connection, math.inf, at)


def cancel(
    connection: sqlite3.Connection, job_id: str, callback: bytes | None, at: float
) -> CancelOutcome:
    """End a waiting job, or mark a leased one for its holder; `callback` is owed at its end."""
    row = first(connection, _PLACE, job_id)
    if row is None:
        return "unknown"
    seq, status, lane, priority, user_id = row
    if status in TERMINAL:
        return "terminal"
    if status == Status.LEASED:
        connection.execute(_ASK_TO_STOP, (callback, seq))
        return "requested"
    connection.execute(_FINISH, (Status.CANCELLED, at, seq))
    leave(connection, lane, priority, user_id)
    owe(connection, job_id, PUBLIC_STATUS[Status.CANCELLED], callback, at)
    return "cancelled"


class _Held(msgspec.Struct, frozen=True):
    """What the moves need to know of a leased job."""

    seq: int
    job_id: str
    tries: int
    start_told: int
    cancel_requested: int
    cancel_body: bytes | None


def _held(connection: sqlite3.Connection, token: Token) -> _Held:
    row = first(connection, _HELD, token.job_id, token.fence)
    if row is None:
        raise LeaseLost(job_id=token.job_id, fence=token.fence)
    return _Held(*row)


def _give_back(connection: sqlite3.Connection, held: _Held, not_before: float, at: float) -> None:
    """Back to the front; a job whose caller cancelled it ends here, since nobody else would."""
    if not held.cancel_requested:
        connection.execute(_GIVE_BACK, (not_before, held.seq))
        return
    connection.execute(_FINISH, (Status.CANCELLED, at, held.seq))
    record(connection, held.job_id, EventKind.CANCELLED, {}, at)
    owe(connection, held.job_id, PUBLIC_STATUS[Status.CANCELLED], held.cancel_body, at)


def _letter(held: _Held, raw: bytes, end: Settlement, at: float) -> DeadLetter:
    return DeadLetter(
        job_id=held.job_id,
        raw=raw,
        reason=end.sentence or end.code or end.status,
        code=end.code or "",
        tries=held.tries,
        at=at,
    )


_KEPT = "SELECT payload FROM jobs JOIN bodies ON job = seq WHERE id = ?"

_PAYLOAD = "SELECT payload FROM bodies WHERE job = ?"

_ADD = """
INSERT INTO jobs (id, type, lane, class, user_id, submitted_at) VALUES (?, ?, ?, ?, ?, ?)
"""

_RENEW = "UPDATE jobs SET lease_until = ? WHERE id = ? AND fence = ? AND status = 'leased'"

_HELD = """
SELECT seq, id, tries, start_told, cancel_requested, cancel_body FROM jobs
WHERE id = ? AND fence = ? AND status = 'leased'
"""

_LAPSED = """
SELECT seq, id, tries, start_told, cancel_requested, cancel_body FROM jobs
WHERE status = 'leased' AND lease_until <= ? ORDER BY fence
"""

_START = "UPDATE jobs SET started_at = ?, start_told = ? WHERE seq = ?"

_FINISH = """
UPDATE jobs SET status = ?, settled_at = ?, owner = NULL, lease_until = NULL, cancel_body = NULL
WHERE seq = ?
"""

_ADD_END = """
INSERT INTO ends (job, code, sentence, facts, assets, receipt) VALUES (?, ?, ?, ?, ?, ?)
"""

_GIVE_BACK = """
UPDATE jobs SET status = 'waiting', owner = NULL, lease_until = NULL, returned = fence,
  not_before = ?
WHERE seq = ?
"""

_END_DELAYS = """
UPDATE jobs SET not_before = 0 WHERE status = 'waiting' AND returned > 0 AND not_before > 0
"""

_PLACE = "SELECT seq, status, lane, class, user_id FROM jobs WHERE id = ?"

_ASK_TO_STOP = """
UPDATE jobs SET cancel_requested = 1, cancel_body = coalesce(cancel_body, ?) WHERE seq = ?
"""
