"""The pod's half of a job's life: prepare, run, keep, settle, tell.

One settle on every path. A lease that was lost ends in silence: whoever holds the job now tells
of it, and uses the same keys.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shutil import rmtree
from typing import Protocol
from uuid import uuid4

import msgspec

from ourvidz_worker.callbacks.metadata import Done, metadata_of
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import LeaseLost, OurvidzError, QueueUnavailable, WorkerLost
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Lease, Status
from ourvidz_worker.domain.messages import Failed, Finished, Outcome, Report, Run, Stopped
from ourvidz_worker.domain.request import AdminRequest
from ourvidz_worker.pod.administration import Administration
from ourvidz_worker.pod.ending import Ending, GiveBack, ending_of_failure, failure_of
from ourvidz_worker.pod.hub import Hub
from ourvidz_worker.pod.keeping import Keeping
from ourvidz_worker.pod.preparation import Preparation, Prepared
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.watching import Watching
from ourvidz_worker.queue import Queue, Settlement
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

WRITE_AGAIN_AFTER_S = 2.0
"""A queue that cannot be written is asked again after this; the result stays in the spool."""


class Teller(Protocol):
    """Writes the callbacks owed; None where nobody is to be told."""

    def processing(self, lease: Lease) -> bytes | None:
        """The body that says that work begins."""
        ...

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        """The body that says how the job ended."""
        ...


@dataclass(frozen=True, kw_only=True)
class Ports:
    """What a delivery needs; built once by wiring."""

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


class Delivery:
    """One leased job on its way to its end."""

    def __init__(self, lease: Lease, worker: Supervisor, ports: Ports) -> None:
        """`worker` serves the job's lane."""
        self.lease = lease
        self.attempt_id = uuid4().hex
        self.computed = asyncio.Event()
        """Set once the job needs its worker no more."""
        self._worker = worker
        self._ports = ports
        self._spool = ports.spool / self.attempt_id
        self.running = False
        """True once the worker has the attempt."""
        self.end: Status | None = None
        """How the job ended; None while it has not, or goes on elsewhere."""
        self._stopped: str | None = None
        self._waiting: asyncio.Task[Outcome] | None = None
        self._begun = ports.clock.now()

    async def deliver(self) -> None:
        """Work the job to its end, whatever happens on the way."""
        try:
            await self._conclude(await self._work())
        except LeaseLost:
            log.warning(
                "lease lost", extra={"action": Action.LEASE_LOST, "job_id": self.lease.job.id}
            )
        finally:
            self.computed.set()
            await asyncio.to_thread(rmtree, self._spool, ignore_errors=True)
            self._ports.watching.forget(self.lease.job.id)

    async def stop(self, reason: str) -> None:
        """Stop the work: `cancelled`, or `draining`, or `lost` when the lease is gone."""
        self._stopped = self._stopped or reason
        if self._waiting is not None:
            self._waiting.cancel()
        else:
            await self._worker.cancel(self.attempt_id, reason)

    async def _work(self) -> Ending:
        stage = "validate"
        try:
            if self.lease.exhausted:
                raise WorkerLost("The job's tries are used up.")
            prepared = await self._ports.preparation.prepare(self.lease, self._spool)
            stage = "generate"
            outcome = await self._outcome(prepared)
            if isinstance(outcome, Finished):
                stage = "upload"
                return await self._keep(outcome, prepared)
        except LeaseLost:
            raise
        except QueueUnavailable as error:
            return GiveBack(burn=False, code=error.code, delay_s=WRITE_AGAIN_AFTER_S)
        except OurvidzError as error:
            outcome = failure_of(error, attempt_id=self.attempt_id, stage=stage)
        if isinstance(outcome, Failed):
            return ending_of_failure(outcome, self.lease, self._ports.max_tries)
        return self._ending_of_stop()

    async def _outcome(self, prepared: Prepared) -> Outcome:
        """What comes of the work: the pod's own answer, or the worker's."""
        if isinstance(prepared.request, AdminRequest):
            await self._start()
            return self._ports.administration.answer(prepared.request, self.attempt_id)
        return await self._compute(prepared)

    async def _compute(self, prepared: Prepared) -> Outcome:
        """Wait for the worker and run; a stop while waiting ends it at once."""
        if self._stopped:
            return Stopped(attempt_id=self.attempt_id, reason=self._stopped)
        self._waiting = asyncio.create_task(self._wait_and_run(prepared))
        try:
            return await self._waiting
        except asyncio.CancelledError:
            if self._stopped is None:
                raise
            return Stopped(attempt_id=self.attempt_id, reason=self._stopped)
        finally:
            self._waiting = None

    async def _wait_and_run(self, prepared: Prepared) -> Outcome:
        slot = await self._worker.slots.take(self.lease.job.priority)
        try:
            await self._start()
            run = Run(
                attempt_id=self.attempt_id,
                job_id=self.lease.job.id,
                request=prepared.request,
                seed=prepared.seed,
                spool=str(self._spool),
                deadline_s=prepared.deadline_s,
                references=prepared.references,
            )
            self._waiting = None
            self.running = True
            return await self._run(run, slot.release)
        finally:
            slot.release()
            self.computed.set()

    async def _start(self) -> None:
        """The work begins: the queue, the caller and the watchers are told."""
        body = self._ports.teller.processing(self.lease)
        await self._ports.queue.start(self.lease.token, callback=body)
        self._ports.told()
        data = {"attempt": self.lease.tries}
        await self._ports.hub.milestone(self.lease.job.id, EventKind.STARTED, data)

    async def _run(self, run: Run, release: Callable[[], None]) -> Outcome:
        watching = self._ports.watching

        def watch(report: Report) -> None:
            if watching.take(run, report):
                release()
                self.computed.set()

        running = asyncio.ensure_future(self._worker.run(run, watch))
        if self._stopped:
            await self._worker.cancel(self.attempt_id, self._stopped)
        return await running

    async def _keep(self, finished: Finished, prepared: Prepared) -> Ending:
        job = self.lease.job
        assets = await self._ports.keeping.keep(job, finished.artifacts, self._spool)
        if self._stopped:
            await self._ports.keeping.discard(job, finished.artifacts)
            return self._ending_of_stop()
        receipt = msgspec.structs.replace(finished.receipt, attempt=self.lease.tries)
        done = Done(
            job_id=job.id,
            request=prepared.request,
            assets=assets,
            receipt=receipt,
            facts={**finished.facts, **prepared.facts, **self._times()},
            seed=prepared.seed,
        )
        return Settlement(
            status=Status.COMPLETED, assets=assets, receipt=receipt, facts=metadata_of(done)
        )

    def _times(self) -> dict[str, int | float]:
        """What the pod measured: from the lease to the last upload, and the wait before it."""
        return {
            "attempts": self.lease.tries,
            "processing_time": round(self._ports.clock.now() - self._begun, 3),
            "queue_wait": round(max(0.0, self._begun - self.lease.job.submitted_at), 3),
        }

    def _ending_of_stop(self) -> Ending:
        if self._stopped == "lost":
            raise LeaseLost
        if self._stopped == "cancelled":
            return Settlement(status=Status.CANCELLED)
        return GiveBack(burn=False, code="draining")

    async def _conclude(self, end: Ending) -> None:
        """Settle or give back, then tell the watchers."""
        job = self.lease.job
        if isinstance(end, GiveBack):
            await self._until_written(
                partial(
                    self._ports.queue.requeue,
                    self.lease.token,
                    burn=end.burn,
                    delay_s=end.delay_s,
                )
            )
            self._log(Action.JOB_REQUEUED, code=end.code)
            return await self._ports.hub.milestone(job.id, EventKind.RETRIED, {"code": end.code})
        await self._settle(end)
        self.end = end.status
        self._log(Action.JOB_SETTLED, status=end.status, code=end.code)
        self._ports.told()
        return await self._ports.hub.milestone(job.id, *last_event(end))

    async def _settle(self, end: Settlement) -> None:
        """Write the end, with the callback owed for it."""
        body = self._ports.teller.ended(self.lease, end)
        settled = Settlement(
            status=end.status,
            assets=end.assets,
            receipt=end.receipt,
            code=end.code,
            sentence=end.sentence,
            facts=end.facts,
            callback=body,
            dead=end.dead,
        )
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
        log.info(
            action.value.replace("_", " "),
            extra={"action": action, "job_id": self.lease.job.id, "tries": self.lease.tries}
            | fields,
        )


def last_event(end: Settlement) -> tuple[EventKind, dict[str, str | int | float | bool | None]]:
    """The event that tells of a settlement."""
    if end.status is Status.COMPLETED:
        return EventKind.COMPLETED, {"assets": len(end.assets)}
    if end.status is Status.CANCELLED:
        return EventKind.CANCELLED, {}
    retryable = end.facts.get("retryable") is True
    return EventKind.FAILED, {"code": end.code, "message": end.sentence, "retryable": retryable}
