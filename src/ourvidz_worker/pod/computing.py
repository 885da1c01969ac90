"""Computing: a job's time on its worker, from waiting for a slot to the outcome of its attempt."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from uuid import uuid4

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import DeadlinePassed
from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.messages import Computed, Outcome, Report, Run
from ourvidz_worker.pod.interruption import Interruption
from ourvidz_worker.pod.preparation import Prepared
from ourvidz_worker.pod.recovery import Recovery
from ourvidz_worker.pod.slots import Slot
from ourvidz_worker.pod.supervisor import Supervisor

Watch = Callable[[Run, Report], None]


class Computing:
    """Runs the attempts of one lease, one after the other, and counts their time in work."""

    def __init__(
        self,
        lease: Lease,
        worker: Supervisor,
        recovery: Recovery,
        interruption: Interruption,
        *,
        attempt_id: str,
        clock: Clock,
        watch: Watch,
    ) -> None:
        """`watch` sees every report; `recovery` knows how long the job was worked on before."""
        self.attempt_id = attempt_id
        self.running = False
        """True once the worker has the attempt."""
        self.computed = asyncio.Event()
        """Set once the job needs its worker no more."""
        self.taken = asyncio.Event()
        """Set once the job has had its turn to take a slot."""
        self.after: Sequence[asyncio.Event] = ()
        """Turns of the same user's earlier jobs: preparing fast overtakes nobody (Q-9)."""
        self._lease = lease
        self._worker = worker
        self._recovery = recovery
        self._interruption = interruption
        self._clock = clock
        self._watch = watch

    async def run(
        self, prepared: Prepared, spool: Path, begin: Callable[[], Awaitable[None]]
    ) -> Outcome:
        """Wait for a slot, let the work begin, and run it to its outcome.

        Raises `StopRequested` for a stop that came before the worker had it, `DeadlinePassed`
        when earlier attempts have used the time up, `ModelLoadFailed` and `WorkerLost`.
        """
        left = prepared.deadline_s - self._recovery.past(self._lease.job.id).spent_s
        if left <= 0:
            raise DeadlinePassed
        for earlier in self.after:
            await self._interruption.guard(earlier.wait())
        slots = self._worker.slots
        slot = await self._interruption.guard(slots.take(self._lease.job.priority))
        self.taken.set()
        try:
            self._interruption.check()
            await begin()
            run = Run(
                attempt_id=self.attempt_id,
                job_id=self._lease.job.id,
                request=prepared.request,
                seed=prepared.seed,
                spool=str(spool),
                deadline_s=left,
                references=prepared.references,
            )
            return await self._run(run, slot)
        finally:
            slot.release()
            self.running = False

    async def stop(self, reason: str) -> None:
        """Stop the attempt at its next step; one that the worker does not have is no error."""
        await self._worker.cancel(self.attempt_id, reason)

    def renew(self) -> None:
        """Another attempt at the same lease follows, under a name of its own."""
        self.attempt_id = uuid4().hex
        self.computed.clear()

    async def _run(self, run: Run, slot: Slot) -> Outcome:
        begun = self._clock.monotonic()

        def leave() -> None:
            slot.release()
            if not self.computed.is_set():
                self.computed.set()
                self._recovery.worked(self._lease, self._clock.monotonic() - begun)

        def watch(report: Report) -> None:
            self._watch(run, report)
            if isinstance(report, Computed):
                leave()

        # No await between the check and the worker's taking it: a stop finds it here or there.
        self._interruption.check()
        self.running = True
        try:
            return await self._worker.run(run, watch)
        finally:
            leave()
