"""Dead letters as they lie beside the application's lists (contract Q-21)."""

import json
from datetime import datetime

from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.queue.base import CallbackRow, DeadLetter

LOSSLESS = "surrogateescape"
"""Bytes that are no UTF-8 become lone surrogates: `\\udcff` for 0xff. JSON keeps these."""


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


def read_letter(text: bytes) -> DeadLetter:
    """A letter of ours, or of another worker that keeps to the contract."""
    kept = json.loads(text)
    return DeadLetter(
        job_id=kept.get("job_id"),
        raw=str(kept.get("raw", "")).encode("utf-8", LOSSLESS),
        reason=str(kept.get("reason", "")),
        code=str(kept.get("code", "")),
        tries=int(kept.get("attempts") or 0),
        at=datetime.fromisoformat(kept["at"]).timestamp(),
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
