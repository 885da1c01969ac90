"""The pod's half of a job's life: prepare, run, keep, settle, tell.

One settle on every path. A lease that was lost ends in silence: whoever holds the job now tells
of it, and uses the same keys.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Protocol
from uuid import uuid4

import msgspec

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import (
    LeaseLost,
    ModelLoadFailed,
    OurvidzError,
    QueueUnavailable,
    StopRequested,
    UploadFailed,
    WorkerLost,
)
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Job, Lease, Status
from ourvidz_worker.domain.job_types import Family, Media, find_job_type
from ourvidz_worker.domain.messages import (
    Failed,
    Finished,
    Outcome,
    Progress,
    Report,
    Run,
    Stopped,
)
from ourvidz_worker.domain.request import AdminRequest
from ourvidz_worker.pod.administration import Administration
from ourvidz_worker.pod.cancellations import Cancellations
from ourvidz_worker.pod.completion import completion, possible_artifacts
from ourvidz_worker.pod.computing import Computing
from ourvidz_worker.pod.ending import (
    DECODE,
    Ending,
    GiveBack,
    ended_elsewhere,
    ending_of_failure,
    failure_of,
    last_event,
    settlement_of,
)
from ourvidz_worker.pod.hub import Hub
from ourvidz_worker.pod.interruption import Interruption
from ourvidz_worker.pod.keeping import Keeping
from ourvidz_worker.pod.preparation import Preparation, Prepared
from ourvidz_worker.pod.recovery import LOST, Recovery
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.watching import Watching
from ourvidz_worker.pod.work_log import fields_of, took_of
from ourvidz_worker.queue import Queue, Settlement
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

CANCELLED, LOST_LEASE = "cancelled", "lost"
"""Reasons of a stop that end a job here; any other gives it back."""

WRITE_AGAIN_AFTER_S = 2.0
"""A queue that cannot be written is asked again after this; the result stays in the spool."""


class Teller(Protocol):
    """Writes the callbacks owed; None where nobody is to be told."""

    def processing(self, lease: Lease) -> bytes | None:
        """The body that says that work begins."""
        ...

    def progress(self, lease: Lease, fraction: float) -> None:
        """Work goes on; nothing is owed for it."""
        ...

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        """The body that says how the job ended."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What a delivery needs; built once by wiring. `log_prompts` lets their text into the log."""

    queue: Queue
    hub: Hub
    keeping: Keeping
    preparation: Preparation
    administration: Administration
    teller: Teller
    watching: Watching
    clock: Clock
    spool: Path
    max_tries: int
    told: Callable[[], None]
    cancellations: Cancellations
    log_prompts: bool = False


class Delivery:
    """One leased job on its way to its end."""

    def __init__(
        self, lease: Lease, worker: Supervisor | None, ports: Ports, recovery: Recovery
    ) -> None:
        """`worker` serves the job's lane, None where it needs none."""
        self.lease = lease
        self.end: Status | None = None
        """How the job ended; None while it has not, or goes on elsewhere."""
        self.computed = asyncio.Event()
        """Set once the job needs its worker no more."""
        self.taken = asyncio.Event()
        """Set once the job has had its turn to take a slot of its worker."""
        self.draining = False
        """True while the pod drains: a worker that ends now takes no try from the job."""
        self._ports = ports
        self._recovery = recovery
        self._interruption = Interruption()
        self._spool = ports.spool / uuid4().hex
        self._begun = ports.clock.now()
        self._started = False
        self._is_told = False
        """True when the caller knows of the end, so that nothing is owed."""
        self._prepared: Prepared | None = None
        self._computing: Computing | None = None
        if worker is not None:
            self._computing = Computing(
                lease,
                worker,
                recovery,
                self._interruption,
                attempt_id=self._spool.name,
                clock=ports.clock,
                watch=self._watch,
            )
            self.computed, self.taken = self._computing.computed, self._computing.taken

    @property
    def job(self) -> Job:
        """The job."""
        return self.lease.job

    @property
    def running(self) -> bool:
        """True once the worker has an attempt at the job."""
        return self._computing is not None and self._computing.running

    async def deliver(self) -> None:
        """Work the job to its end, whatever happens on the way."""
        try:
            await self._conclude(await self._work())
        except LeaseLost:
            log.warning("lease lost", extra={"action": Action.LEASE_LOST, "job_id": self.job.id})
        finally:
            self.computed.set()
            self.taken.set()
            await asyncio.to_thread(rmtree, self._spool, ignore_errors=True)
            self._ports.watching.forget(self.job.id)

    def follow(self, earlier: Sequence["Delivery"]) -> None:
        """Take a slot only after these have had their turn; before `deliver`."""
        if self._computing is not None:
            self._computing.after = [one.taken for one in earlier]

    async def stop(self, reason: str) -> None:
        """Stop the work: `cancelled`, or `draining`, or `lost` when the lease is gone."""
        if not self._interruption.stop(reason) and self._computing is not None:
            await self._computing.stop(reason)

    async def _work(self) -> Ending:
        """How the job ends, or goes on elsewhere."""
        if self.lease.exhausted:
            lost = self._failure(WorkerLost("The job's tries are used up."))
            return settlement_of(lost, self.lease, dead=True)
        ended = await self._ports.cancellations.ended_before(self.job)
        if ended is not None:
            self._is_told = True
            readable = self._ports.preparation.can_read(self.lease)
            return ended_elsewhere(ended, dead=not readable)
        try:
            return await self._attempt()
        except StopRequested as stop:
            return await self._ending_of_stop(stop.reason)
        except QueueUnavailable as error:
            return GiveBack(burn=False, code=error.code, delay_s=WRITE_AGAIN_AFTER_S)

    async def _attempt(self) -> Ending:
        """Prepare and compute, without the reference where that fails and may; then keep."""
        outcome = await self._outcome_of(self._first())
        if isinstance(outcome, Failed):
            outcome = await self._outcome_of(self._without_reference(outcome))
        if isinstance(outcome, Finished) and self._prepared is not None:
            self._recovery.succeeded(self.lease)
            try:
                return await self._keep(outcome, self._prepared)
            except UploadFailed as error:
                outcome = self._failure(error)
        if isinstance(outcome, Failed) and not await self._was_stopped():
            return self._ending_of_failure(outcome)
        reason = outcome.reason if isinstance(outcome, Stopped) else "draining"
        return await self._ending_of_stop(reason)

    async def _outcome_of(self, work: Coroutine[object, object, Outcome]) -> Outcome:
        """What comes of it; an error of ours is a failure like the worker's own."""
        try:
            return await work
        except (LeaseLost, QueueUnavailable):
            raise
        except OurvidzError as error:
            return self._failure(error)

    async def _first(self) -> Outcome:
        if self._recovery.breaker.condemns(self.job.lane):
            raise ModelLoadFailed
        prepare = self._ports.preparation.prepare(self.lease, self._spool)
        self._prepared = await self._interruption.guard(prepare)
        return await self._compute(self._prepared)

    async def _without_reference(self, failed: Failed) -> Outcome:
        """The same job once more, with nothing to go by but its prompt; or `failed` itself."""
        if self._prepared is None or self._computing is None:
            return failed
        again = self._ports.preparation.without_reference(self.lease, failed, self._prepared)
        bare = await self._interruption.guard(again)
        if bare is None:
            return failed
        self._log(Action.REFERENCE_DROPPED, code=failed.code, reason=failed.reason)
        self._prepared = bare
        self._computing.renew()
        return await self._compute(bare)

    async def _compute(self, prepared: Prepared) -> Outcome:
        """What comes of the work: the pod's own answer, or the worker's."""
        if isinstance(prepared.request, AdminRequest):
            await self._begin()
            return await self._ports.administration.answer(prepared.request, self._spool.name)
        if self._computing is None:
            raise ModelLoadFailed("This pod has no model for that type of job.", field="type")
        return await self._computing.run(prepared, self._spool, self._begin)

    async def _begin(self) -> None:
        """The work begins: the queue, the caller and the watchers are told, once."""
        if self._started:
            return
        self._started = True
        body = self._ports.teller.processing(self.lease)
        await self._ports.queue.start(self.lease.token, callback=body)
        self._ports.told()
        request = self._prepared.request if self._prepared else None
        self._log(Action.JOB_STARTED, **fields_of(request, whole=self._ports.log_prompts))
        data = {"attempt": self.lease.tries}
        await self._ports.hub.milestone(self.job.id, EventKind.STARTED, data)

    def _watch(self, run: Run, report: Report) -> None:
        self._ports.watching.take(run, report)
        if isinstance(report, Progress):
            self._ports.teller.progress(self.lease, report.fraction)

    async def _keep(self, finished: Finished, prepared: Prepared) -> Ending:
        """Store every file, and say what came of it. Raises `UploadFailed`."""
        assets = await self._ports.keeping.keep(self.job, finished.artifacts, self._spool)
        warnings: tuple[str, ...] = ()
        if getattr(prepared.request, "prompt", None) == "":
            warnings = await self._ports.cancellations.repair_prompt(self.job.id)
        reason = await self._was_stopped()
        if reason in {CANCELLED, LOST_LEASE}:
            return await self._ending_of_stop(reason, finished.artifacts)
        past = self._recovery.past(self.job.id)
        times = self._times()
        return completion(
            self.lease, finished, prepared, assets, past=past, times=times, warnings=warnings
        )

    async def _was_stopped(self) -> str | None:
        """Why the job was to stop; a row that was just cancelled counts before any end (K-10)."""
        if self._interruption.reason is None:
            await self._ports.cancellations.stop_if_cancelled(self)
        return self._interruption.reason

    def _times(self) -> dict[str, float]:
        """What the pod measured: from the lease to the last upload, and the wait before it."""
        times = {"processing_time": round(self._ports.clock.now() - self._begun, 3)}
        if self.job.arrival_known:
            times["queue_wait"] = round(max(0.0, self._begun - self.job.submitted_at), 3)
        return times

    def _failure(self, error: OurvidzError) -> Failed:
        """An error raised in the pod, with the stage it belongs to."""
        stage = "generate"
        if self._prepared is None:
            readable = self._ports.preparation.can_read(self.lease)
            stage = "validate" if readable else DECODE
        return failure_of(error, attempt_id=self._spool.name, stage=stage)

    def _ending_of_failure(self, failed: Failed) -> Ending:
        if failed.code == LOST and self.draining:
            return GiveBack(burn=False, code="draining")
        if _family_of(self.job) is Family.ADMIN:
            return settlement_of(failed, self.lease)
        return ending_of_failure(failed, self.lease, self._recovery)

    async def _ending_of_stop(self, said: str, stored: Sequence[Artifact] = ()) -> Ending:
        """The end of a job that was told to stop; what it stored goes with a cancelled one."""
        reason = self._interruption.reason or said
        if reason == LOST_LEASE:
            raise LeaseLost
        if reason != CANCELLED:
            return GiveBack(burn=False, code=reason)
        if not stored and self.lease.tries > 1 and self._prepared is not None:
            stored = possible_artifacts(self._prepared.request)  # an earlier try may have stored
        if stored:
            await self._discard(stored)
        return Settlement(status=Status.CANCELLED)

    async def _discard(self, stored: Sequence[Artifact]) -> None:
        try:
            await self._ports.keeping.discard(self.job, stored)
        except UploadFailed:
            self._log(Action.FILES_LEFT_BEHIND)

    async def _conclude(self, end: Ending) -> None:
        """Settle or give back, then tell the watchers."""
        if isinstance(end, GiveBack):
            requeue = self._ports.queue.requeue
            await self._until_written(
                partial(requeue, self.lease.token, burn=end.burn, delay_s=end.delay_s)
            )
            self._log(Action.JOB_REQUEUED, code=end.code)
            return await self._ports.hub.milestone(
                self.job.id, EventKind.RETRIED, {"code": end.code}
            )
        await self._settle(end)
        self._recovery.forget(self.job.id)
        self.end = None if self._is_told else end.status
        self._log(Action.JOB_SETTLED, status=end.status, code=end.code, **took_of(end))
        self._ports.told()
        return await self._ports.hub.milestone(self.job.id, *last_event(end))

    async def _settle(self, end: Settlement) -> None:
        """Write the end, with the callback owed for it, and a text's result (J-1)."""
        body = None if self._is_told else self._ports.teller.ended(self.lease, end)
        is_text = any(asset.media is Media.TEXT for asset in end.assets)
        settled = msgspec.structs.replace(end, callback=body, result=body if is_text else None)
        await self._until_written(partial(self._ports.queue.settle, self.lease.token, settled))

    async def _until_written(self, write: Callable[[], Awaitable[None]]) -> None:
        """Write; while the queue cannot be written, keep everything and try again."""
        while True:
            try:
                return await write()
            except QueueUnavailable:
                self._log(Action.QUEUE_UNAVAILABLE)
                await self._ports.clock.sleep(WRITE_AGAIN_AFTER_S)

    def _log(self, action: Action, **fields: object) -> None:
        named = {"action": action, "job_id": self.job.id, "tries": self.lease.tries}
        log.info(action.value.replace("_", " "), extra=named | fields)


def _family_of(job: Job) -> Family | None:
    row = find_job_type(job.type)
    return None if row is None else row.family
