"""Memory: keeps the right workers on the device, by the policy and by an operator's commands.

Two loops: one looks once a second, one acts. All that moves a worker is done one thing at a time,
under the broker's lock; telling how things are never waits for it.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence

from ourvidz_worker.domain.errors import ModelLoadFailed, OurvidzError, OutOfMemory, Unavailable
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import (
    MemoryReport,
    MemoryStatus,
    OperationReply,
    Order,
    Side,
    Why,
)
from ourvidz_worker.pod.memory_broker import MemoryBroker
from ourvidz_worker.pod.memory_operations import MemoryOperations
from ourvidz_worker.pod.memory_reports import memory_report, memory_status
from ourvidz_worker.pod.news import first_of
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.residency.policy import (
    EVICTION_ORDER,
    STANDING,
    Step,
    may_leave,
    next_step,
    plan_room,
    spared_for,
)
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

LOOK_EVERY_S = 1.0
STATUS_EVERY_S = 60.0
"""How often the log tells how the device is (O-8)."""

AFTER_FAILURE_S = 5.0
"""A move that failed is not tried again at once."""

RETRY_S = 5.0
"""When to ask again for a model whose load was never timed."""

NO_MODEL = "This pod has no model for that."
NOT_YET = "The model is not loaded now; try again after a short wait."


class Memory:
    """The device's memory as one thing that can be asked, commanded, and left to itself."""

    def __init__(self, broker: MemoryBroker, fractions: Mapping[Lane, float]) -> None:
        """`fractions` are the workers' shares of the card, for the report."""
        self._broker = broker
        self._fractions = dict(fractions)
        self._operations = MemoryOperations(broker)
        self._kicked = asyncio.Event()
        for worker in broker.workers.values():
            worker.relieve = self.relieve

    # ---- the loops --------------------------------------------------------------------------

    async def run(self) -> None:
        """Look and act until cancelled."""
        await asyncio.gather(self._watch(), self._act())

    async def may_start(self, lane: Lane) -> bool:
        """True when a worker is to be started with the pod: all of them where memory is not
        rationed, else those that belong on the device, while they fit.
        """
        broker = self._broker
        if not broker.meter.has_device:
            return True
        if lane not in STANDING:
            return False
        await broker.look()
        plan = plan_room(broker.ledger.entries, broker.free_bytes, lane, broker.need_of(lane))
        return plan.enough and not plan.evict

    def may_lease(self, lane: Lane) -> bool:
        """False while a lane's worker is away, on its way in, or on its way out."""
        worker = self._broker.workers.get(lane)
        return worker is not None and worker.state in {WorkerState.READY, WorkerState.FAILED}

    async def summon(self, lane: Lane, within_s: float) -> float:
        """Have a worker up for somebody who waits; returns how long it took, seconds.

        Raises `Unavailable`, at once where it cannot be up within `within_s`; it is then brought
        in all the same, for the next caller.
        """
        broker = self._broker
        worker = broker.workers.get(lane)
        broker.arrivals.add(lane)
        if worker is None or worker.state is WorkerState.READY:
            return 0.0
        begun = broker.clock.monotonic()
        load_s = worker.load_s
        broker.summon(lane, within_s)
        self._kicked.set()
        plan = plan_room(broker.entries, broker.free_bytes, lane, broker.need_of(lane))
        comes = worker.state in {WorkerState.STOPPED, WorkerState.STARTING} and plan.enough
        in_time = load_s is not None and load_s <= within_s
        if not (comes and in_time and await worker.is_up_within(within_s)):
            raise Unavailable(NOT_YET, retry_after_s=load_s or RETRY_S)
        return broker.clock.monotonic() - begun

    async def relieve(self, lane: Lane) -> None:
        """An attempt ran out of memory: evict idle workers by the table before it is tried again.

        Does nothing while something else is moved: that frees or needs the same memory.
        """
        broker = self._broker
        if not broker.meter.has_device or broker.lock.locked():
            return
        async with broker.lock:
            try:
                await broker.make_room(lane, broker.need_of(lane), Why.OUT_OF_MEMORY)
            except OutOfMemory:
                await self._evict_idle(lane)
            except OurvidzError as error:
                _log_failure(error)

    # ---- commands ---------------------------------------------------------------------------

    async def load(self, lanes: Sequence[Lane], *, force: bool = False) -> tuple[Lane, ...]:
        """Load these workers, or of several as many as fit; those that are up in the end.

        Only into free room, unless `force` lets idle workers be evicted. Raises `OutOfMemory`
        when none fits, `ModelLoadFailed`.
        """
        broker = self._broker
        served = [lane for lane in lanes if lane in broker.workers]
        if not served:
            raise ModelLoadFailed(NO_MODEL)
        failure: OurvidzError | None = None
        up: list[Lane] = []
        async with broker.lock:
            for lane in served:
                try:
                    await self._load_one(lane, force=force, spare=frozenset(up))
                    up.append(lane)
                except OutOfMemory as error:
                    failure = error
        if failure is not None and not up:
            raise failure
        return tuple(up)

    async def unload(self, lanes: Sequence[Lane], *, force: bool = False) -> None:
        """Send these workers away; they come back for work. Waits for running users at most 60 s
        and raises `Conflict` then; `force` stops their work, which goes back to the queue.
        """
        broker = self._broker
        served = [lane for lane in lanes if lane in broker.workers]
        if not served:
            raise ModelLoadFailed(NO_MODEL)
        async with broker.lock:
            for lane in served:
                await broker.unload(lane, force=force)

    async def operate(self, order: Order) -> OperationReply:
        """Carry out one operation. Raises `OutOfMemory` when its aim is not reached, `Conflict`,
        `RequestError` for one that lacks its target, `Unavailable` where it needs a device.
        """
        return await self._operations.operate(order)

    # ---- what is told -----------------------------------------------------------------------

    def memory_status(self, side: Side) -> MemoryStatus:
        """How the device's memory is used. Raises `Unavailable` where there is no device."""
        return memory_status(self._broker, side, self._fractions)

    def memory_report(self) -> MemoryReport:
        """Every worker's memory, predictions, recommendations, and the last moves."""
        return memory_report(self._broker)

    # ---- within -----------------------------------------------------------------------------

    async def _watch(self) -> None:
        """Keep the last look fresh, and tell the log every minute how the device is."""
        clock, told_at = self._broker.clock, float("-inf")
        while True:
            await self._broker.look()
            if clock.monotonic() - told_at >= STATUS_EVERY_S:
                told_at = clock.monotonic()
                await self._tell_status()
            await clock.sleep(LOOK_EVERY_S)

    async def _act(self) -> None:
        """Do what the policy says, one step after another, once the pod has started."""
        clock = self._broker.clock
        for worker in self._broker.workers.values():
            await worker.started.wait()
        while True:
            async with self._broker.lock:
                pause_s = await self._act_once()
            await first_of(self._kicked.wait(), clock.sleep(pause_s))
            self._kicked.clear()

    async def _act_once(self) -> float:
        """Take the next step, if there is one; how long to wait for the one after it, seconds."""
        await self._broker.look()
        if any(worker.stopping for worker in self._broker.workers.values()):
            return LOOK_EVERY_S
        step = next_step(self._broker.ledger.entries, self._broker.free_bytes)
        if step is None:
            return LOOK_EVERY_S
        try:
            await self._take(step)
        except OurvidzError as error:
            _log_failure(error)
            return AFTER_FAILURE_S
        return 0.0

    async def _take(self, step: Step) -> None:
        broker = self._broker
        for lane in step.evict:
            await broker.evict(lane, Why.ROOM, beneficiary=step.load, patient=step.patient)
        spare = spared_for(broker.ledger.entry(step.load), broker.ledger.entries)
        await broker.make_room(step.load, broker.need_of(step.load), spare=spare)
        await broker.load(step.load, step.why)

    async def _load_one(self, lane: Lane, *, force: bool, spare: frozenset[Lane]) -> None:
        broker = self._broker
        if broker.workers[lane].state is WorkerState.READY:
            return
        staying = spare if force else frozenset(broker.workers)
        await broker.make_room(lane, broker.need_of(lane), spare=staying)
        await broker.load(lane, Why.OPERATOR)

    async def _evict_idle(self, beneficiary: Lane) -> None:
        for lane in EVICTION_ORDER:
            if lane is beneficiary or lane not in self._broker.workers:
                continue
            if not may_leave(self._broker.ledger.entry(lane)):
                continue
            try:
                await self._broker.evict(lane, Why.OUT_OF_MEMORY, beneficiary=beneficiary)
            except OurvidzError as error:
                _log_failure(error)

    async def _tell_status(self) -> None:
        reading = self._broker.reading
        if reading is None:
            return
        facts = await self._broker.meter.describe()
        log.info(
            "device status",
            extra={
                "action": Action.DEVICE_STATUS,
                "total_bytes": reading.total_bytes,
                "free_bytes": reading.free_bytes,
                **facts,
            },
        )


def _log_failure(error: OurvidzError) -> None:
    log.warning(
        "memory move failed",
        extra={"action": Action.MEMORY_MOVE_FAILED, "code": error.code, "facts": error.facts},
    )
