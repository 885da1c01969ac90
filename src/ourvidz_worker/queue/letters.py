"""Dead letters as they lie beside the application's lists (contract Q-21)."""

import hashlib
import json
from datetime import datetime

import msgspec

from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.queue.base import CallbackRow, DeadLetter

LOSSLESS = "surrogateescape"
"""Bytes that are no UTF-8 become lone surrogates: `\\udcff` for 0xff. JSON keeps these."""


class _Letter(msgspec.Struct, frozen=True, kw_only=True):
    raw: str
    reason: str | None = None
    code: str | None = None
    job_id: str | None = None
    attempts: int | None = None
    at: str | None = None


def write_letter(letter: DeadLetter, worker_id: str) -> bytes:
    """The contract's seven members, in ASCII."""
    return json.dumps(
        {
            "raw": letter.raw.decode("utf-8", LOSSLESS),
            "reason": letter.reason,
            "code": letter.code,
            "job_id": letter.job_id,
            "attempts": letter.tries,
            "worker_id": worker_id,
            "at": rfc3339(letter.at),
        }
    ).encode("ascii")


def name_letter(text: bytes) -> str:
    """What names a letter among those that are kept: the SHA-1 of its text."""
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()


def read_letter(text: bytes) -> DeadLetter:
    """A letter of ours, or whatever another worker left there. Raises nothing."""
    try:
        kept = msgspec.convert(json.loads(text), _Letter, strict=False)
        at = datetime.fromisoformat(kept.at).timestamp() if kept.at else 0.0
    except (ValueError, RecursionError):
        return DeadLetter(
            id=name_letter(text), job_id=None, raw=text, reason="", code="", tries=0, at=0.0
        )
    return DeadLetter(
        id=name_letter(text),
        job_id=kept.job_id,
        raw=kept.raw.encode("utf-8", LOSSLESS),
        reason=kept.reason or "",
        code=kept.code or "",
        tries=kept.attempts or 0,
        at=at,
    )


def write_dead_callback(row: CallbackRow, reason: str, at: float) -> bytes:
    """A callback given up, with its body and the reason (7.4)."""
    return json.dumps(
        {
            "job_id": row.job_id,
            "status": row.status,
            "body": row.body.decode("utf-8", LOSSLESS),
            "reason": reason,
            "attempts": row.tries,
            "at": rfc3339(at),
        }
    ).encode("ascii")
