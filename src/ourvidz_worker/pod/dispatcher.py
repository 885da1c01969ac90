"""The dispatcher: leases what the lanes can run now, keeps the leases, and starts deliveries."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import LeaseLost, QueueUnavailable
from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.delivery import Delivery, Ports
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

AHEAD = 1
"""Jobs leased ahead of a lane's free slots, so that preparation overlaps compute (Q-9)."""

MAX_TAIL = 4
"""Jobs of a lane whose files are still being written and stored; more wait their turn."""

IDLE_LOOK_S = 5.0
"""Without news the queue is looked at this often, which also sweeps lapsed leases."""

BACK_OFF_S = 1.0


class Dispatcher:
    """Runs until it is drained; owns every delivery of this pod."""

    def __init__(
        self,
        workers: Mapping[Lane, Supervisor],
        ports: Ports,
        *,
        owner: str,
        ttl_s: float,
        clock: Clock,
        count: Callable[[str], None],
        news: asyncio.Event,
    ) -> None:
        """`owner` names this pod in leases of `ttl_s`; `count` counts ended jobs.

        `news` is set by whoever knows of a change that may let a job run.
        """
        self._workers = workers
        self._ports = ports
        self._owner = owner
        self._ttl_s = ttl_s
        self._clock = clock
        self._count = count
        self._held: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}
        self._news = news
        self._draining = False

    @property
    def held(self) -> int:
        """How many jobs this pod holds now."""
        return len(self._held)

    def look(self) -> None:
        """Something changed that may let a job run: look at the queue again."""
        self._news.set()

    async def run(self) -> None:
        """Lease and deliver until `drain`."""
        while not self._draining:
            self._news.clear()
            try:
                leases = await self._ports.queue.lease(self._owner, self._wanted(), self._ttl_s)
            except QueueUnavailable:
                log.warning("queue unavailable", extra={"action": Action.QUEUE_UNAVAILABLE})
                await self._clock.sleep(BACK_OFF_S)
                continue
            for lease in leases:
                self._begin(lease)
            if not leases:
                await self._wait()

    async def keep_leases(self) -> None:
        """Renew what is held, three times in each lease's life, and sweep what has lapsed."""
        while True:
            await self._clock.sleep(min(self._ttl_s / 3, IDLE_LOOK_S))
            try:
                await self._renew()
                if await self._ports.queue.sweep():
                    log.info("leases swept", extra={"action": Action.LEASES_SWEPT})
                    self.look()
            except QueueUnavailable:
                log.warning("queue unavailable", extra={"action": Action.QUEUE_UNAVAILABLE})

    async def cancel(self, job_id: str) -> None:
        """Stop a job held here; one that is not held is no error."""
        if job_id in self._held:
            await self._held[job_id][0].stop("cancelled")

    async def drain(self, timeout_s: float) -> None:
        """Lease no more; give back what has not begun, and wait for the rest to end."""
        self._draining = True
        self.look()
        for delivery, _ in list(self._held.values()):
            if not delivery.running:
                await delivery.stop("draining")
        tasks = [task for _, task in self._held.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)

    def _wanted(self) -> dict[Lane, int]:
        wanted = {lane: self._room(lane, worker) for lane, worker in self._workers.items()}
        return {lane: room for lane, room in wanted.items() if room > 0}

    def _room(self, lane: Lane, worker: Supervisor) -> int:
        """How many more jobs of a lane may be held; a failed lane's jobs are taken to fail them."""
        if worker.state is WorkerState.FAILED:
            return AHEAD
        if worker.state is not WorkerState.READY:
            return 0
        mine = [held for held, _ in self._held.values() if held.lease.job.lane is lane]
        tail = sum(held.computed.is_set() for held in mine)
        computing = len(mine) - tail
        if tail >= MAX_TAIL:
            return 0
        return worker.slots.capacity + AHEAD - computing

    def _begin(self, lease: Lease) -> None:
        delivery = Delivery(lease, self._workers[lease.job.lane], self._ports)
        task = asyncio.create_task(self._deliver(delivery))
        task.add_done_callback(_report_break)
        self._held[lease.job.id] = (delivery, task)

    async def _deliver(self, delivery: Delivery) -> None:
        watcher = asyncio.create_task(self._look_when_computed(delivery))
        try:
            await delivery.deliver()
        finally:
            watcher.cancel()
            self._held.pop(delivery.lease.job.id, None)
            if delivery.end is not None:
                self._count(f"jobs_{delivery.end}")
            self.look()

    async def _look_when_computed(self, delivery: Delivery) -> None:
        await delivery.computed.wait()
        self.look()

    async def _renew(self) -> None:
        deliveries = [delivery for delivery, _ in self._held.values()]
        if not deliveries:
            return
        tokens = [delivery.lease.token for delivery in deliveries]
        kept = await self._ports.queue.renew(tokens, self._ttl_s)
        for delivery, ours in zip(deliveries, kept, strict=True):
            if not ours and delivery.lease.job.id in self._held:
                await delivery.stop("lost")

    async def _wait(self) -> None:
        """Until the queue or a worker has news, at most `IDLE_LOOK_S`."""
        waits = [
            asyncio.create_task(self._news.wait()),
            asyncio.create_task(self._changed()),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    async def _changed(self) -> None:
        try:
            await self._ports.queue.changed(IDLE_LOOK_S)
        except (QueueUnavailable, LeaseLost):
            await self._clock.sleep(BACK_OFF_S)


def _report_break(task: "asyncio.Task[None]") -> None:
    """A delivery that broke leaves its job to its lease: another try follows, and this line."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("delivery broke", exc_info=error, extra={"action": Action.DELIVERY_BROKE})
