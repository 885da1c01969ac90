"""The operations of `/emergency/operation`: commands to the broker, each one recorded (9)."""

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType

import msgspec

from ourvidz_worker.domain.errors import (
    ModelLoadFailed,
    OutOfMemory,
    RequestError,
    Unavailable,
)
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import (
    GIB,
    READ_OPERATIONS,
    WORKER_NAMES,
    MemoryTable,
    Move,
    MoveKind,
    Operation,
    OperationReply,
    Order,
    Residence,
    Why,
)
from ourvidz_worker.pod.memory_broker import NO_ROOM, MemoryBroker
from ourvidz_worker.pod.memory_reports import NO_DEVICE, memory_report, memory_table
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.residency.policy import available_of, foresee, may_leave

CLEAN_BYTES = 10 * GIB
"""A clean-up has succeeded when more than this is available (9)."""

CLEANED = (Lane.CHAT, Lane.VIDEO)
"""Whom a clean-up unloads, in order; never the image worker."""

NO_TARGET = "The field target_worker must be sdxl, chat or wan for that operation."
NOTHING = "none"

#: The operations that speak of a device and are refused where there is none.
ON_A_DEVICE = frozenset(
    {
        Operation.STATUS,
        Operation.PRESSURE_CHECK,
        Operation.FORCE_CLEANUP,
        Operation.HANDLE_EMERGENCY_REQUEST,
    }
)


class MemoryOperations:
    """Carries out one operation at a time."""

    def __init__(self, broker: MemoryBroker) -> None:
        """All moves go through `broker`."""
        self._broker = broker
        self._effects: Mapping[Operation, Callable[[Order], Awaitable[str]]] = MappingProxyType(
            {
                Operation.FORCE_UNLOAD: self._unload,
                Operation.FORCE_UNLOAD_ALL_EXCEPT: self._unload_others,
                Operation.FORCE_CLEANUP: self._clean_up,
                Operation.HANDLE_EMERGENCY_REQUEST: self._make_room,
                Operation.PREDICTIVE_LOAD: self._predict,
            }
        )

    async def operate(self, order: Order) -> OperationReply:
        """Carry it out and tell what changed; an aim that is not reached is `OutOfMemory`."""
        broker = self._broker
        if order.operation in READ_OPERATIONS:
            return self._told(order)
        async with broker.lock:
            await broker.look()
            self._need_device(order)
            before, free = memory_table(broker), broker.free_bytes
            begun = broker.clock.monotonic()
            succeeded = False
            try:
                done = await self._effects[order.operation](order)
                succeeded = True
            finally:
                await broker.look()
                self._record(order, begun, broker.free_bytes - free, succeeded=succeeded)
        return self._reply(order, done, before, freed_bytes=broker.free_bytes - free)

    def _told(self, order: Order) -> OperationReply:
        self._need_device(order)
        reply = self._reply(order, NOTHING, memory_table(self._broker), freed_bytes=0)
        if order.operation is not Operation.MEMORY_REPORT:
            return reply
        report = msgspec.structs.asdict(memory_report(self._broker))
        return msgspec.structs.replace(reply, **report)

    def _need_device(self, order: Order) -> None:
        if order.operation in ON_A_DEVICE and self._broker.reading is None:
            raise Unavailable(NO_DEVICE)

    # ---- effects: each tells what it did ----------------------------------------------------

    async def _unload(self, order: Order) -> str:
        lane = self._target(order)
        if self._broker.ledger.entry(lane).residence is Residence.UNLOADED:
            return NOTHING
        await self._broker.unload(lane, force=order.force)
        return f"unloaded {WORKER_NAMES[lane]}"

    async def _unload_others(self, order: Order) -> str:
        kept = self._target(order)
        gone = []
        for entry in self._broker.ledger.entries:
            if entry.lane is not kept and entry.residence is not Residence.UNLOADED:
                await self._broker.unload(entry.lane, force=order.force)
                gone.append(WORKER_NAMES[entry.lane])
        return f"unloaded {', '.join(gone)}" if gone else NOTHING

    async def _clean_up(self, order: Order) -> str:
        for worker in self._broker.workers.values():
            await worker.trim()
        gone = []
        for lane in CLEANED:
            if lane in self._broker.workers and self._may_leave(lane, force=order.force):
                await self._broker.evict(lane, Why.OPERATOR, force=order.force)
                gone.append(WORKER_NAMES[lane])
        if available_of(self._broker.free_bytes) <= CLEAN_BYTES:
            raise OutOfMemory(NO_ROOM)
        return f"unloaded {', '.join(gone)}" if gone else NOTHING

    async def _make_room(self, order: Order) -> str:
        lane = self._target(order)
        is_up = self._broker.ledger.entry(lane).residence is Residence.LOADED
        need = 0 if is_up else self._broker.need_of(lane)
        if order.required_gb is not None:
            need = int(order.required_gb * GIB)
        gone = await self._broker.make_room(lane, need, force=order.force)
        return f"evicted {', '.join(WORKER_NAMES[one] for one in gone)}" if gone else NOTHING

    async def _predict(self, order: Order) -> str:
        broker = self._broker
        if order.target is not None:
            self._target(order)
            if broker.workers[order.target].state is WorkerState.READY:
                return NOTHING
        step = foresee(broker.ledger.entries, broker.free_bytes, order.target)
        if step is None and order.target is not None:
            raise OutOfMemory(NO_ROOM)
        if step is None:
            return NOTHING
        await broker.load(step.load, step.why)
        return f"loaded {WORKER_NAMES[step.load]}"

    # ---- within -----------------------------------------------------------------------------

    def _target(self, order: Order) -> Lane:
        if order.target is None:
            raise RequestError(NO_TARGET, field="target_worker")
        if order.target not in self._broker.workers:
            raise ModelLoadFailed("This pod has no model for that.", field="target_worker")
        return order.target

    def _may_leave(self, lane: Lane, *, force: bool) -> bool:
        entry = self._broker.ledger.entry(lane)
        return may_leave(entry, force=force)

    def _reply(
        self, order: Order, done: str, before: MemoryTable, *, freed_bytes: int
    ) -> OperationReply:
        after = memory_table(self._broker)
        return OperationReply(
            operation=order.operation.value,
            action_taken=done,
            freed_gb=round(max(0, freed_bytes) / GIB, 2),
            before=before,
            after=after,
            pressure=after.pressure,
        )

    def _record(self, order: Order, begun: float, freed: int, *, succeeded: bool) -> None:
        clock = self._broker.clock
        self._broker.record(
            Move(
                at=clock.now(),
                kind=MoveKind.OPERATION,
                why=Why.OPERATOR,
                lane=order.target,
                operation=order.operation.value,
                succeeded=succeeded,
                seconds=round(clock.monotonic() - begun, 3),
                freed_bytes=freed,
            )
        )
