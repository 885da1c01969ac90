"""When a callback is tried again, and when no more (contract K-11, K-10, J-2)."""

import msgspec

from ourvidz_worker.callbacks.outbox import OwedCallback
from ourvidz_worker.callbacks.verdict import NOT_FOUND_TRIES, Delivered, Final, Parked, Verdict
from ourvidz_worker.domain.job_types import Family, find_job_type

LONGEST_WAIT_S = 60.0
PARKED_WAIT_S = 300.0
LIFETIME_S = 24 * 3600.0
PROCESSING_TRIES = 3
"""`processing` is settled after as many, so that the terminal callback can follow."""

DOUBLINGS = 6
"""1, 2, 4 … 32 s, then `LONGEST_WAIT_S`."""


class Strike(msgspec.Struct, frozen=True, kw_only=True):
    """It was accepted."""


class Postpone(msgspec.Struct, frozen=True, kw_only=True):
    """It is tried again after `delay_s`."""

    delay_s: float
    error: str


class GiveUp(msgspec.Struct, frozen=True, kw_only=True):
    """It is not tried again."""

    reason: str


Move = Strike | Postpone | GiveUp


def next_move(
    row: OwedCallback, verdict: Verdict, *, now: float, jitter: float, is_rowless: bool = False
) -> Move:
    """What becomes of a row after one more try; `jitter` is 0..1, `now` wall-clock seconds.

    `is_rowless` says that the receiver is known to have no row of the job.
    """
    if isinstance(verdict, Delivered):
        return Strike()
    if isinstance(verdict, Final):
        return GiveUp(reason=verdict.reason)
    tries = row.tries + 1
    is_missing = not isinstance(verdict, Parked) and verdict.at_most == NOT_FOUND_TRIES
    if is_missing and (is_rowless or _is_chat(row)):
        return Strike()
    if tries >= _most_tries(row, verdict):
        return GiveUp(reason=f"{verdict.error}, tried {tries} times")
    if now - row.created_at >= LIFETIME_S:
        return GiveUp(reason=f"{verdict.error}, for 24 hours")
    if isinstance(verdict, Parked):
        return Postpone(delay_s=PARKED_WAIT_S, error=verdict.error)
    longest = min(LONGEST_WAIT_S, float(1 << min(row.tries, DOUBLINGS)))
    return Postpone(delay_s=max(jitter * longest, verdict.after_s), error=verdict.error)


def _most_tries(row: OwedCallback, verdict: Verdict) -> float:
    most = PROCESSING_TRIES if row.status == "processing" else float("inf")
    at_most = getattr(verdict, "at_most", None)
    return most if at_most is None else min(most, at_most)


class _Metadata(msgspec.Struct):
    job_type: str = ""


class _Body(msgspec.Struct):
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


def _is_chat(row: OwedCallback) -> bool:
    """True for a job that the client's database has no row of (J-2)."""
    try:
        name = msgspec.json.decode(row.body, type=_Body).metadata.job_type
    except msgspec.DecodeError:
        return False
    found = find_job_type(name)
    return found is not None and found.family in {Family.CHAT, Family.ADMIN}
