"""The dispatcher: leases what the lanes can run now, keeps the leases, and starts deliveries."""

import asyncio
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ourvidz_worker.domain.errors import ConfigError, LeaseLost, QueueUnavailable
from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.lane import UNMANNED, Lane
from ourvidz_worker.pod.backoff import Backoff
from ourvidz_worker.pod.breaker import Breaker
from ourvidz_worker.pod.delivery import Delivery, Ports
from ourvidz_worker.pod.recovery import Recovery
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

AHEAD, MAX_AHEAD = 1, 4
"""Jobs leased ahead of a lane's free slots, so that preparation overlaps compute (Q-9)."""

MAX_TAIL = 4
"""Jobs of a lane whose files are still being written and stored; more wait their turn."""

IDLE_LOOK_S = 5.0
"""Without news the queue is looked at this often, which also sweeps lapsed leases."""

MayLease = Callable[[Lane], bool]


@dataclass(frozen=True, kw_only=True)
class Leasing:
    """How a pod leases: in whose name, for how long, how much ahead, and when not at all.

    A lane is leased from only while its worker is ready and each of `may_lease` agrees; the lanes
    without one always. `jitter` is 0..1.
    """

    owner: str
    ttl_s: float
    ahead: int = AHEAD
    may_lease: Sequence[MayLease] = ()
    jitter: Callable[[], float] = random.random

    def __post_init__(self) -> None:
        """Raises `ConfigError` for more jobs ahead than the contract allows."""
        if not 0 <= self.ahead <= MAX_AHEAD:
            raise ConfigError(f"jobs leased ahead must be 0 to {MAX_AHEAD}")


class Dispatcher:
    """Runs until it is drained; owns every delivery of this pod."""

    def __init__(
        self,
        workers: Mapping[Lane, Supervisor],
        ports: Ports,
        leasing: Leasing,
        *,
        count: Callable[[str], None],
        news: asyncio.Event,
    ) -> None:
        """`count` counts ended jobs; `news` is set by whoever knows of a change that matters."""
        self._workers = workers
        self._ports = ports
        self._leasing = leasing
        self._clock = ports.clock
        self._count = count
        self._news = news
        self._held: dict[str, tuple[Delivery, asyncio.Task[None]]] = {}
        self._breaker = Breaker(ports.clock)
        self._recovery = Recovery(self._breaker, max_tries=ports.max_tries)
        self._may_lease = (self._breaker.may_lease, *leasing.may_lease)
        self._restarts = dict.fromkeys(workers, 0)
        self._unloadable: set[Lane] = set()
        self._draining = asyncio.Event()
        self._left = asyncio.Event()
        self._left.set()

    @property
    def held(self) -> int:
        """How many jobs this pod holds now."""
        return len(self._held)

    def look(self) -> None:
        """Something changed that may let a job run: look at the queue again."""
        self._news.set()

    async def run(self) -> None:
        """Lease and deliver until `drain`."""
        backoff = Backoff(self._leasing.jitter)
        self._left.clear()
        while not self._draining.is_set():
            self._news.clear()
            self._judge_workers()
            try:
                leases = await self._lease()
            except QueueUnavailable:
                log.warning("queue unavailable", extra={"action": Action.QUEUE_UNAVAILABLE})
                await self._pause(backoff.next_s())
                continue
            backoff.reset()
            for lease in leases:
                self._begin(lease)
            if not leases:
                await self._wait()
        await self._give_back()  # what was leased as the drain began
        self._left.set()

    async def keep_leases(self) -> None:
        """Renew what is held, three times in each lease's life, and sweep what has lapsed."""
        while True:
            await self._clock.sleep(min(self._leasing.ttl_s / 3, IDLE_LOOK_S))
            try:
                await self._renew()
                swept = await self._ports.queue.sweep()
                self._ports.told()  # what a dead pod owed, or a cancelled job, may be owed here now
                if swept:
                    log.info("leases swept", extra={"action": Action.LEASES_SWEPT})
                    self.look()
            except QueueUnavailable:
                log.warning("queue unavailable", extra={"action": Action.QUEUE_UNAVAILABLE})

    async def watch_rows(self) -> None:
        """Stop the jobs held that the application's users cancel in its own rows (K-20)."""
        await self._ports.cancellations.watch(self._deliveries)

    async def cancel(self, job_id: str) -> None:
        """Stop a job held here; one that is not held is no error."""
        if job_id in self._held:
            await self._held[job_id][0].stop("cancelled")

    async def drain(self, timeout_s: float) -> None:
        """Lease no more; give back what has not begun, and wait for the rest to end."""
        self._draining.set()
        self.look()
        await self._give_back()
        ended = asyncio.ensure_future(self._all_ended())
        await asyncio.wait({ended}, timeout=timeout_s)
        ended.cancel()

    async def _give_back(self) -> None:
        """Stop what has not begun; what ends from now on is no fault of its job (O-6)."""
        for delivery in self._deliveries():
            delivery.draining = True
            if not delivery.running and not delivery.computed.is_set():
                await delivery.stop("draining")

    async def _all_ended(self) -> None:
        await self._left.wait()
        while self._held:
            await asyncio.wait([task for _, task in self._held.values()])

    async def _pause(self, seconds: float) -> None:
        """Let time pass, unless the drain begins."""
        waits = [
            asyncio.ensure_future(self._clock.sleep(seconds)),
            asyncio.ensure_future(_until(self._draining)),
        ]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)

    async def _lease(self) -> list[Lease]:
        return await self._ports.queue.lease(
            self._leasing.owner, self._wanted(), self._leasing.ttl_s
        )

    def _deliveries(self) -> list[Delivery]:
        return [delivery for delivery, _ in self._held.values()]

    def _judge_workers(self) -> None:
        """Tell the breaker of workers that cannot be had: no job would ever find that out."""
        for lane, worker in self._workers.items():
            if worker.state is WorkerState.READY:
                if lane in self._unloadable:
                    self._breaker.worked(lane)
                self._unloadable.discard(lane)
            elif worker.state is WorkerState.FAILED:
                self._unloadable.add(lane)
                self._breaker.open(lane)
            elif worker.failure is not None and worker.restarts > self._restarts[lane]:
                self._unloadable.add(lane)
                self._breaker.failed(lane, f"start {worker.restarts}")
            self._restarts[lane] = worker.restarts

    def _wanted(self) -> dict[Lane, int]:
        wanted = {lane: self._room(lane, worker) for lane, worker in self._workers.items()}
        wanted |= {lane: MAX_AHEAD - len(self._mine(lane)) for lane in UNMANNED}
        return {lane: room for lane, room in wanted.items() if room > 0}

    def _room(self, lane: Lane, worker: Supervisor) -> int:
        """How many more jobs of a lane may be held; a condemned lane's are taken to fail them."""
        mine = self._mine(lane)
        if self._breaker.condemns(lane):
            return MAX_AHEAD - len(mine)
        if worker.state is not WorkerState.READY or not all(may(lane) for may in self._may_lease):
            return 0
        tail = sum(held.computed.is_set() for held in mine)
        computing = len(mine) - tail
        if tail >= MAX_TAIL:
            return 0
        return worker.slots.capacity + self._leasing.ahead - computing

    def _mine(self, lane: Lane) -> list[Delivery]:
        return [held for held in self._deliveries() if held.job.lane is lane]

    def _begin(self, lease: Lease) -> None:
        worker = self._workers.get(lease.job.lane)
        delivery = Delivery(lease, worker, self._ports, self._recovery)
        mine = self._mine(lease.job.lane)
        delivery.follow([one for one in mine if one.job.user_id == lease.job.user_id])
        task = asyncio.create_task(self._deliver(delivery))
        task.add_done_callback(_report_break)
        self._held[lease.job.id] = (delivery, task)

    async def _deliver(self, delivery: Delivery) -> None:
        watcher = asyncio.create_task(self._look_when_computed(delivery))
        try:
            await delivery.deliver()
        finally:
            watcher.cancel()
            if delivery in self._deliveries():  # given back, it may be held here again by now
                self._held.pop(delivery.job.id)
            if delivery.end is not None:
                self._count(f"jobs_{delivery.end}")
            self.look()
        await self._rest_if_open(delivery.job.lane)

    async def _rest_if_open(self, lane: Lane) -> None:
        """A lane that has just opened keeps no jobs ahead: they go back as well (Q-8)."""
        if not self._breaker.is_open(lane) or self._breaker.condemns(lane):
            return
        log.warning("lane opened", extra={"action": Action.LANE_OPENED, "lane": lane})
        for held in self._mine(lane):
            if not held.running and not held.computed.is_set():
                await held.stop("lane_opened")

    async def _look_when_computed(self, delivery: Delivery) -> None:
        await delivery.computed.wait()
        self.look()

    async def _renew(self) -> None:
        deliveries = self._deliveries()
        if not deliveries:
            return
        tokens = [delivery.lease.token for delivery in deliveries]
        kept = await self._ports.queue.renew(tokens, self._leasing.ttl_s)
        for delivery, ours in zip(deliveries, kept, strict=True):
            if not ours and delivery.job.id in self._held:
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
            await self._clock.sleep(IDLE_LOOK_S)


async def _until(event: asyncio.Event) -> None:
    await event.wait()


def _report_break(task: "asyncio.Task[None]") -> None:
    """A delivery that broke leaves its job to its lease: another try follows, and this line."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("delivery broke", exc_info=error, extra={"action": Action.DELIVERY_BROKE})
