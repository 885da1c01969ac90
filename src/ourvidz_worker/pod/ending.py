"""How one try at a job ends: settled for good, or given back for another try."""

import msgspec

from ourvidz_worker.domain.errors import (
    BadReference,
    Conflict,
    ModelLoadFailed,
    OurvidzError,
    Refused,
    RequestError,
    UploadFailed,
)
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Lease, Status
from ourvidz_worker.domain.messages import Failed
from ourvidz_worker.pod.recovery import LOST, Recovery
from ourvidz_worker.queue import Settlement

RETRY_DELAY_S = 0.5
"""A failed job's next try comes after this, so that a crash loop does not spin."""

ENDED_BEFORE = "The application had ended this job before it began."

UNREADABLE = "The job could not be read, and nobody waits for it."

DECODE = "decode"
"""The stage of a job that could not be read at all."""

#: The stage that an error of the pod's belongs to, in the contract's words (K-3).
STAGES: tuple[tuple[type[OurvidzError], str], ...] = (
    (BadReference, "reference"),
    (Refused, "admission"),
    (ModelLoadFailed, "load"),
    (UploadFailed, "upload"),
)


class GiveBack(msgspec.Struct, frozen=True, kw_only=True):
    """The job goes back to the front of its lane; `burn` counts the try."""

    burn: bool
    code: str
    delay_s: float = 0.0


Ending = Settlement | GiveBack


def ending_of_failure(failed: Failed, lease: Lease, recovery: Recovery) -> Ending:
    """Another try where the recovery table allows one, else a settlement as failed."""
    verdict = recovery.judge(failed, lease)
    if verdict.again:
        return GiveBack(burn=verdict.burn, code=failed.code, delay_s=RETRY_DELAY_S)
    return settlement_of(failed, lease, dead=failed.code == LOST and recovery.is_last(lease))


def settlement_of(failed: Failed, lease: Lease, *, dead: bool = False) -> Settlement:
    """The job failed for good; one that could not be read at all is always a dead letter."""
    return Settlement(
        status=Status.FAILED,
        code=failed.code,
        sentence=failed.sentence,
        facts={
            "error_type": failed.code,
            "error_code": failed.code,
            "error_reason": failed.reason,
            "retryable": failed.retryable,
            "stage": failed.stage,
            "job_type": lease.job.type,
            "attempts": lease.tries,
        },
        dead=dead or failed.stage == DECODE,
    )


def ended_elsewhere(status: Status, *, dead: bool = False) -> Settlement:
    """An end that the application knows of already: nothing is worked, and nothing told (K-20).

    `dead` for what could not be read as a job at all, which is a dead letter all the same (Q-21).
    """
    if dead:
        code = RequestError.code
        return Settlement(status=Status.FAILED, code=code, sentence=UNREADABLE, dead=True)
    if status is Status.COMPLETED:
        return Settlement(status=Status.COMPLETED)
    if status is Status.CANCELLED:
        return Settlement(status=Status.CANCELLED)
    return Settlement(status=Status.FAILED, code=Conflict.code, sentence=ENDED_BEFORE)


def last_event(end: Settlement) -> tuple[EventKind, dict[str, str | int | float | bool | None]]:
    """The event that tells of a settlement."""
    if end.status is Status.COMPLETED:
        return EventKind.COMPLETED, {"assets": len(end.assets)}
    if end.status is Status.CANCELLED:
        return EventKind.CANCELLED, {}
    retryable = end.facts.get("retryable") is True
    return EventKind.FAILED, {"code": end.code, "message": end.sentence, "retryable": retryable}


def failure_of(error: OurvidzError, *, attempt_id: str, stage: str) -> Failed:
    """An error of ours, raised in the pod, as the outcome it stands for."""
    return Failed(
        attempt_id=attempt_id,
        code=error.code,
        sentence=error.sentence,
        retryable=error.may_retry,
        stage=next((named for kind, named in STAGES if isinstance(error, kind)), stage),
        field=error.field,
        reason=getattr(error, "reason", None),
    )
