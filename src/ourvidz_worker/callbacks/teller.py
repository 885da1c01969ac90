"""The teller: from how a job stands to the body of the callback owed for it."""

from typing import Protocol

from ourvidz_worker.callbacks.body import (
    completed_body,
    failed_body,
    processing_body,
    progress_body,
)
from ourvidz_worker.callbacks.metadata import Done
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import Asset, Facts
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.job import Lease, Status
from ourvidz_worker.domain.receipt import Receipt


class End(Protocol):
    """How a job ended, as the queue's settlement says it."""

    @property
    def status(self) -> Status:
        """A terminal state."""
        ...

    @property
    def assets(self) -> tuple[Asset, ...]:
        """Every stored artifact."""
        ...

    @property
    def receipt(self) -> Receipt | None:
        """The account of the last attempt."""
        ...

    @property
    def sentence(self) -> str | None:
        """What the caller is told of a failure."""
        ...

    @property
    def facts(self) -> Facts:
        """The engine's and the pod's."""
        ...


class Teller:
    """Writes bodies; whoever owes them keeps and sends them."""

    def __init__(
        self, worker_id: str, limits: Limits, clock: Clock, *, bucket_prefix: bool = False
    ) -> None:
        """`bucket_prefix` puts the bucket's name before every storage path."""
        self._worker_id = worker_id
        self._limits = limits
        self._clock = clock
        self._bucket_prefix = bucket_prefix

    def processing(self, lease: Lease) -> bytes:
        """The body that says that work begins."""
        return processing_body(lease.job.id, worker_id=self._worker_id)

    def progress(self, lease: Lease, fraction: float) -> bytes:
        """The body that says how far the work is."""
        return progress_body(lease.job.id, worker_id=self._worker_id, fraction=fraction)

    def ended(self, lease: Lease, end: End) -> bytes | None:
        """The body that says how the job ended; None for a cancelled one (K-20)."""
        job, at = lease.job, self._clock.now()
        if end.status is Status.CANCELLED:
            return None
        if end.status is Status.FAILED:
            sentence = end.sentence or "Generation failed; try again."
            return failed_body(
                job.id, worker_id=self._worker_id, at=at, sentence=sentence, facts=end.facts
            )
        request = read_job(
            job.payload,
            limits=self._limits,
            job_id=job.id,
            with_references=end.facts.get("fallback_used") is not True,
        ).request
        seed = getattr(request, "seed", None)
        done = Done(
            job_id=job.id,
            request=request,
            assets=end.assets,
            receipt=end.receipt or Receipt(),
            facts=end.facts,
            seed=lease.seed if seed is None else seed,
        )
        return completed_body(
            done, worker_id=self._worker_id, at=at, bucket_prefix=self._bucket_prefix
        )
