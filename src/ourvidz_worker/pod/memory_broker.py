"""The broker: the one place that moves workers in and out of the device (M-1, M-4).

Whoever moves holds `lock`; looking needs no lock. What a move freed is read off the device, never
worked out.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from functools import partial

from msgspec.structs import replace

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import OurvidzError, OutOfMemory
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import Move, MoveKind, Residence, Why
from ourvidz_worker.pod.arrivals import Arrivals
from ourvidz_worker.pod.supervisor import UNLOAD_WAIT_S, Supervisor
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.residency.ledger import Entry, Ledger
from ourvidz_worker.residency.meter import Meter, Reading
from ourvidz_worker.residency.policy import SAFETY_BYTES, plan_room
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

BOUNDLESS = 1 << 62
"""Free bytes where there is no device: everything fits."""

VERIFY_S, VERIFY_EVERY_S = 5.0, 0.25
"""A driver may show memory as free a moment after its process has gone."""

NO_ROOM = "There is not enough device memory for that now; unload something, or force it."

RESIDENCES = {
    WorkerState.STOPPED: Residence.UNLOADED,
    WorkerState.STARTING: Residence.LOADING,
    WorkerState.READY: Residence.LOADED,
    WorkerState.DRAINING: Residence.UNLOADING,
    WorkerState.BACKOFF: Residence.BROKEN,
    WorkerState.FAILED: Residence.BROKEN,
}


class MemoryBroker:
    """Loads, evicts and unloads whole workers, and writes each move into the ledger."""

    def __init__(
        self,
        workers: Mapping[Lane, Supervisor],
        ledger: Ledger,
        meter: Meter,
        clock: Clock,
        *,
        depths: Callable[[], Mapping[Lane, Depth]],
        total_bytes: int = 0,
    ) -> None:
        """`depths` tells of the queue at its last look; `total_bytes` is the device's size, for
        as long as it cannot be read.
        """
        self.ledger = ledger
        self.meter = meter
        self.clock = clock
        self.workers = dict(workers)
        self.arrivals = Arrivals()
        self.reading: Reading | None = None
        """The device at the last look."""
        self.lock = asyncio.Lock()
        self._depths = depths
        self._summons: dict[Lane, tuple[float, float]] = {}
        """When each was made (wall clock), and until when it counts (monotonic)."""
        self._moving: Lane | None = None
        self._released: set[Lane] = set()
        self._total_bytes = total_bytes
        self._since = clock.now()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The ledger's entries, as far as the pod knows them at this moment."""
        self.observe()
        return self.ledger.entries

    @property
    def free_bytes(self) -> int:
        """What is free: as the device said last, or by the ledger while it says nothing."""
        if not self.meter.has_device:
            return BOUNDLESS
        if self.reading is not None:
            return self.reading.free_bytes
        held = [one for one in self.ledger.entries if one.residence is not Residence.UNLOADED]
        return max(0, self._total_bytes - sum(entry.need_bytes for entry in held))

    async def look(self) -> None:
        """Read the device, and note where every worker stands."""
        self.reading = await self.meter.read()
        if self.reading is not None:
            self._total_bytes = self.reading.total_bytes
        self.observe()

    def observe(self) -> None:
        """Note where every worker stands; asks nobody."""
        now = self.clock.monotonic()
        depths = self._depths()
        self.arrivals.look(depths, now)
        for lane, worker in self.workers.items():
            found = self._found(self.ledger.entry(lane), worker, depths.get(lane, Depth()), now)
            self._note_start(self.ledger.entry(lane), found)
            self.ledger.note(found)

    def summon(self, lane: Lane, for_s: float) -> None:
        """Somebody outside the queue waits for a worker, at most `for_s`."""
        self._summons[lane] = (self.clock.now(), self.clock.monotonic() + for_s)

    async def make_room(
        self,
        lane: Lane | None,
        need_bytes: int,
        why: Why = Why.ROOM,
        *,
        force: bool = False,
        spare: frozenset[Lane] = frozenset(),
    ) -> tuple[Lane, ...]:
        """Evict by the policy until `need_bytes` fit, as the device itself says; whom it took.

        Raises `OutOfMemory`; when it is clear beforehand that room cannot be made, nobody was
        evicted for nothing.
        """
        evicted: list[Lane] = []
        while True:
            await self.look()
            plan = plan_room(
                self.ledger.entries, self.free_bytes, lane, need_bytes, force=force, spare=spare
            )
            if not plan.enough:
                raise OutOfMemory(NO_ROOM)
            if not plan.evict:
                return tuple(evicted)
            await self.evict(plan.evict[0], why, beneficiary=lane, force=force)
            evicted.append(plan.evict[0])

    async def load(self, lane: Lane, why: Why) -> None:
        """Load a worker for which there is room; up already is no error. Raises as it does."""
        if self.workers[lane].state is WorkerState.READY:
            return
        self._released.discard(lane)
        await self._move(MoveKind.LOAD, why, lane, None, self.workers[lane].load)

    async def evict(
        self,
        lane: Lane,
        why: Why,
        *,
        beneficiary: Lane | None = None,
        force: bool = False,
        patient: bool = False,
    ) -> None:
        """Send a worker away; it comes back by itself. Raises `Conflict` when it is in use.

        The patient wait for its users as long as an unload does.
        """
        wait_s = UNLOAD_WAIT_S if patient else 0.0
        unload = partial(self.workers[lane].unload, force=force, wait_s=wait_s)
        await self._move(MoveKind.EVICT, why, lane, beneficiary, unload)

    async def unload(self, lane: Lane, *, force: bool = False) -> None:
        """Send a worker away by order; it comes back for work. Raises `Conflict`."""
        worker = self.workers[lane]
        self._released.add(lane)
        if worker.state is WorkerState.STOPPED:
            return
        try:
            unload = partial(worker.unload, force=force)
            await self._move(MoveKind.UNLOAD, Why.OPERATOR, lane, None, unload)
        except OurvidzError:
            self._released.discard(lane)
            raise

    def need_of(self, lane: Lane) -> int:
        """What a load of the lane's worker must find, bytes."""
        return self.ledger.entry(lane).need_bytes

    async def _move(
        self,
        kind: MoveKind,
        why: Why,
        lane: Lane,
        beneficiary: Lane | None,
        act: Callable[[], Coroutine[None, None, None]],
    ) -> None:
        """Do it, and record what came of it, as the device shows it."""
        await self.look()
        begun, before = self.clock.monotonic(), self.free_bytes
        self._moving = lane
        succeeded = False
        try:
            await act()
            succeeded = True
        finally:
            await self._verify(kind, lane, before)
            self._moving = None
            move = Move(
                at=self.clock.now(),
                kind=kind,
                why=why,
                lane=lane,
                beneficiary=beneficiary,
                succeeded=succeeded,
                seconds=round(self.clock.monotonic() - begun, 3),
                freed_bytes=self.free_bytes - before if kind is not MoveKind.LOAD else 0,
            )
            self.record(move)

    async def _verify(self, kind: MoveKind, lane: Lane, before: int) -> None:
        """Look at the device until it shows what the move freed, at most `VERIFY_S`."""
        until = self.clock.monotonic() + VERIFY_S
        await self.look()
        if kind is MoveKind.LOAD or self.workers[lane].state is not WorkerState.STOPPED:
            return
        while self.free_bytes <= before and self.clock.monotonic() < until:
            await self.clock.sleep(VERIFY_EVERY_S)
            await self.look()

    def record(self, move: Move) -> None:
        """Keep a move in the ledger and tell the log."""
        self.ledger.record(move)
        action = Action.MEMORY_MOVED if move.succeeded else Action.MEMORY_MOVE_FAILED
        log.info(
            action.value.replace("_", " "),
            extra={
                "action": action,
                "move": move.kind,
                "why": move.why,
                "lane": move.lane,
                "operation": move.operation,
                "beneficiary": move.beneficiary,
                "freed_bytes": move.freed_bytes,
                "seconds": move.seconds,
            },
        )

    def _found(self, entry: Entry, worker: Supervisor, depth: Depth, now: float) -> Entry:
        """The entry as things are now; a summons counts as waiting work."""
        summoned = self._is_summoned(entry.lane, now)
        waiting = depth.waiting + worker.slots.waiting + summoned
        is_missed = waiting > 0 and worker.state is WorkerState.STOPPED
        used_at = worker.used_at
        return replace(
            entry,
            peak_bytes=self._capped(worker.peak_bytes),
            residence=RESIDENCES[worker.state],
            busy=worker.busy,
            released=entry.lane in self._released,
            idle_s=0.0 if worker.busy else self.clock.now() - (used_at or self._since),
            load_s=worker.load_s,
            summoned=summoned,
            waiting=waiting,
            waiting_s=self.arrivals.waited_s(entry.lane, is_missed, now),
            arrivals_per_s=self.arrivals.per_second(entry.lane),
        )

    def _is_summoned(self, lane: Lane, now: float) -> bool:
        """True until the worker was used, or whoever waited has left."""
        made, until = self._summons.get(lane, (0.0, 0.0))
        used_at = self.workers[lane].used_at
        return until > now and (used_at is None or used_at < made)

    def _capped(self, size: int) -> int:
        """A size that can fit: an engine may have measured more than one card can give again."""
        return min(size, self._total_bytes - SAFETY_BYTES) if self._total_bytes else size

    def _note_start(self, before: Entry, found: Entry) -> None:
        """A worker that came up by itself, at the pod's start or after a crash, is a move too."""
        came_up = found.residence is Residence.LOADED is not before.residence
        if not came_up or before.residence is Residence.UNLOADING or self._moving is found.lane:
            return
        self.record(
            Move(
                at=self.clock.now(),
                kind=MoveKind.LOAD,
                why=Why.START,
                lane=found.lane,
                seconds=round(found.load_s or 0.0, 3),
            )
        )
