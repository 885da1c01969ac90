"""Recovery: what is tried again by itself, and how often (contract 11, Q-8, 3.7).

A retry is used only for its own class of error. What this pod remembers of a job's earlier
attempts lives as long as the job is tried here; another pod begins anew, with the tries that the
queue has counted.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import msgspec

from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.messages import Failed
from ourvidz_worker.pod.breaker import Breaker

#: Code to the number of retries a job may have for it; other codes settle at once.
RECOVERY: Mapping[str, int] = MappingProxyType(
    {"OOM_ERROR": 1, "MODEL_LOAD_ERROR": 1, "GENERATION_ERROR": 1}
)

OUT_OF_MEMORY, NOT_LOADED = "OOM_ERROR", "MODEL_LOAD_ERROR"

LOST = "WORKER_UNAVAILABLE"
"""A worker that ended under its job is tried again until the job's tries are used up."""

ON_THE_LANE = frozenset({"load", "generate", "encode"})
"""Stages in which a job is the lane's affair; before and after them it is the pod's."""

MOST_REMEMBERED = 10_000
"""Jobs whose attempts are remembered; those of jobs that went elsewhere fade."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A job's earlier attempts in this pod: time in work, seconds, and how each failed."""

    spent_s: float = 0.0
    codes: tuple[str, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the caller is told of them."""
        return tuple(f"attempt {n} ended with {code}" for n, code in enumerate(self.codes, 1))


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a failed job is tried again, and whether that costs a try."""

    again: bool
    burn: bool


class Recovery:
    """Judges failures: another try, with or without burning one, or the end."""

    def __init__(self, breaker: Breaker, *, max_tries: int) -> None:
        """`breaker` hears of what a lane does wrong; `max_tries` bounds all tries of a job."""
        self.breaker = breaker
        self._max_tries = max_tries
        self._pasts: dict[str, Past] = {}

    def past(self, job_id: str) -> Past:
        """What this pod remembers of a job."""
        return self._pasts.get(job_id, Past())

    def worked(self, lease: Lease, seconds: float) -> None:
        """Count time in work: a retry never extends a deadline."""
        past = self.past(lease.job.id)
        self._remember(lease.job.id, Past(spent_s=past.spent_s + seconds, codes=past.codes))

    def succeeded(self, lease: Lease) -> None:
        """The lane did its part for this job."""
        self.breaker.worked(lease.job.lane)

    def forget(self, job_id: str) -> None:
        """The job has ended here."""
        self._pasts.pop(job_id, None)

    def judge(self, failed: Failed, lease: Lease) -> Verdict:
        """What becomes of a job whose attempt failed; the breaker is told first."""
        past, lane = self.past(lease.job.id), lease.job.lane
        is_of_lane = self._tell_breaker(failed, lease, past)
        codes = (*past.codes, failed.code)
        self._remember(lease.job.id, Past(spent_s=past.spent_s, codes=codes))
        if is_of_lane and self.breaker.is_open(lane):
            return Verdict(again=not self.breaker.condemns(lane), burn=False)
        again = may_try_again(
            failed.code,
            retryable=failed.retryable,
            earlier=past.codes,
            tries=lease.tries,
            max_tries=self._max_tries,
        )
        return Verdict(again=again, burn=failed.code != NOT_LOADED)

    def is_last(self, lease: Lease) -> bool:
        """True when the job's tries are used up with this one."""
        return lease.tries >= self._max_tries

    def _tell_breaker(self, failed: Failed, lease: Lease, past: Past) -> bool:
        """Count a failure of the lane's own; True when it is one."""
        if not is_of_lane(failed, past):
            return False
        attempt = f"{lease.job.id} {len(past.codes)}"
        culprit = lease.job.id if failed.code == LOST else attempt
        self.breaker.failed(lease.job.lane, culprit)
        return True

    def _remember(self, job_id: str, past: Past) -> None:
        self._pasts.pop(job_id, None)
        self._pasts[job_id] = past
        while len(self._pasts) > MOST_REMEMBERED:
            self._pasts.pop(next(iter(self._pasts)))


def is_of_lane(failed: Failed, past: Past) -> bool:
    """True for a failure of the lane's machinery, not of the job (Q-8).

    These count: a model that cannot be loaded, a worker that is not there or ended, and memory
    that ran out in the retry too. A failure that names a field is that request's own.
    """
    if failed.field is not None or failed.stage not in ON_THE_LANE:
        return False
    if failed.code == OUT_OF_MEMORY:
        return OUT_OF_MEMORY in past.codes
    return failed.code in {NOT_LOADED, LOST}


def may_try_again(
    code: str, *, retryable: bool, earlier: Sequence[str] = (), tries: int, max_tries: int
) -> bool:
    """True when a job that failed with `code` on its try number `tries` gets another one.

    `earlier` are the codes of the attempts before in this pod; of tries elsewhere nothing is known,
    so each counts as a retry used.
    """
    if code == LOST:
        return tries < max_tries
    elsewhere = max(0, tries - 1 - len(earlier))
    used = elsewhere + sum(one == code for one in earlier)
    return retryable and used < RECOVERY.get(code, 0) and tries < max_tries
