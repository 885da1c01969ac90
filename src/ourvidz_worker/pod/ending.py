"""How one try at a job ends: settled for good, or given back for another try."""

import msgspec

from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.job import Lease, Status
from ourvidz_worker.domain.messages import Failed
from ourvidz_worker.pod.recovery import may_try_again
from ourvidz_worker.queue import Settlement

RETRY_DELAY_S = 0.5
"""A failed job's next try comes after this, so that a crash loop does not spin."""


class GiveBack(msgspec.Struct, frozen=True, kw_only=True):
    """The job goes back to the front of its lane; `burn` counts the try."""

    burn: bool
    code: str
    delay_s: float = 0.0


Ending = Settlement | GiveBack


def ending_of_failure(failed: Failed, lease: Lease, max_tries: int) -> Ending:
    """Another try where the recovery table allows one, else a settlement as failed."""
    if may_try_again(
        failed.code, retryable=failed.retryable, tries=lease.tries, max_tries=max_tries
    ):
        return GiveBack(burn=True, code=failed.code, delay_s=RETRY_DELAY_S)
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
        dead=lease.tries >= max_tries,
    )


def failure_of(error: OurvidzError, *, attempt_id: str, stage: str) -> Failed:
    """An error of ours, raised in the pod, as the outcome it stands for."""
    return Failed(
        attempt_id=attempt_id,
        code=error.code,
        sentence=error.sentence,
        retryable=error.may_retry,
        stage=stage,
        field=error.field,
        reason=getattr(error, "reason", None),
    )
