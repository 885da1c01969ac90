"""What is told of the device's memory: the status and the report of the contract (9)."""

from collections.abc import Iterator, Mapping

from ourvidz_worker.domain.errors import Unavailable
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import (
    GIB,
    MIB,
    WORKER_NAMES,
    MemoryEvent,
    MemoryReport,
    MemoryStatus,
    MemoryTable,
    Move,
    Prediction,
    Pressure,
    Residence,
    Side,
    VramUsage,
    WorkerMemory,
)
from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.pod.health import DEFAULT_LANE, models_loaded
from ourvidz_worker.pod.memory_broker import MemoryBroker
from ourvidz_worker.residency.ledger import Entry
from ourvidz_worker.residency.policy import POLICY_NAMES, available_of, may_leave, pressure_of

NO_DEVICE = "There is no device here whose memory could be told."

#: The status tells four states: a worker on its way out still holds its memory.
TOLD = {residence: residence.value for residence in Residence} | {
    Residence.UNLOADING: Residence.LOADED.value
}

TIGHT = frozenset({Pressure.HIGH, Pressure.CRITICAL})
SECONDS_PER_MINUTE = 60.0


def memory_status(
    broker: MemoryBroker, side: Side, fractions: Mapping[Lane, float]
) -> MemoryStatus:
    """The device as the last look saw it. Raises `Unavailable` without one."""
    reading = broker.reading
    if reading is None:
        raise Unavailable(NO_DEVICE)
    entries = {entry.lane: entry for entry in broker.entries}
    models = models_loaded(broker.workers)
    default = DEFAULT_LANE[side]
    return MemoryStatus(
        total_vram=_gib(reading.total_bytes),
        allocated_vram=_gib(reading.used_bytes),
        available_vram=_gib(available_of(reading.free_bytes)),
        model_loaded=default in entries and entries[default].residence is Residence.LOADED,
        instruct_loaded=models["instruct_loaded"] is True,
        base_loaded=models["base_loaded"] is True,
        sdxl_loaded=models["sdxl_loaded"] is True,
        wan_loaded=models["wan_loaded"] is True,
        memory_fraction=round(fractions.get(default, 0.0), 4),
        worker_type=side,
        vram_usage=VramUsage(
            total=_mib(reading.total_bytes),
            used=_mib(reading.used_bytes),
            free=_mib(reading.free_bytes),
            pressure=pressure_of(reading.free_bytes).value,
        ),
        workers={
            f"{name}_worker": TOLD[entries[lane].residence] if lane in entries else "unloaded"
            for lane, name in WORKER_NAMES.items()
        },
        memory_allocation={
            name: _allocation(entries[lane]) if lane in entries else "not served by this pod"
            for lane, name in WORKER_NAMES.items()
        },
    )


def memory_report(broker: MemoryBroker) -> MemoryReport:
    """Every worker, what to do, what is expected, and the last moves."""
    entries = broker.entries
    reading = broker.reading
    return MemoryReport(
        pressure_level=pressure_of(reading.free_bytes).value if reading else None,
        available_vram=_mib(available_of(reading.free_bytes)) if reading else None,
        worker_status={WORKER_NAMES[one.lane]: _worker_memory(broker, one) for one in entries},
        recommendations=tuple(_recommendations(broker, entries)),
        predictions={WORKER_NAMES[one.lane]: _prediction(one) for one in entries},
        events=tuple(_event(move) for move in broker.ledger.moves),
    )


def memory_table(broker: MemoryBroker) -> MemoryTable:
    """The memory at this moment, in short."""
    reading = broker.reading
    return MemoryTable(
        available_gb=_gib(available_of(reading.free_bytes)) if reading else None,
        pressure=pressure_of(reading.free_bytes).value if reading else None,
        workers={WORKER_NAMES[one.lane]: TOLD[one.residence] for one in broker.entries},
    )


def _worker_memory(broker: MemoryBroker, entry: Entry) -> WorkerMemory:
    used_at = broker.workers[entry.lane].used_at
    is_rationed = broker.meter.has_device
    holds = entry.residence in {Residence.LOADED, Residence.UNLOADING} and is_rationed
    return WorkerMemory(
        loaded=entry.residence is Residence.LOADED,
        memory=_mib(entry.need_bytes) if holds else 0,
        peak=_mib(entry.peak_bytes) if entry.peak_bytes else None,
        in_use=entry.busy,
        last_used=None if used_at is None else rfc3339(used_at),
        state=entry.residence.value,
        budget=_mib(entry.budget_bytes),
        pinned=entry.pinned,
    )


def _prediction(entry: Entry) -> Prediction:
    return Prediction(
        waiting=entry.waiting,
        arrivals_per_minute=round(entry.arrivals_per_s * SECONDS_PER_MINUTE, 3),
        expected=round(entry.expected, 3),
        load_seconds=None if entry.load_s is None else round(entry.load_s, 3),
    )


def _recommendations(broker: MemoryBroker, entries: tuple[Entry, ...]) -> Iterator[str]:
    """What would help now; nothing where memory is not rationed."""
    if broker.reading is None:
        return
    free = broker.reading.free_bytes
    for entry in entries:
        name = WORKER_NAMES[entry.lane]
        is_absent = entry.residence is Residence.UNLOADED
        if is_absent and entry.waiting and available_of(free) < entry.need_bytes:
            yield (
                f"{name} has work waiting and needs {_gib(entry.need_bytes)} GiB; "
                f"{_gib(available_of(free))} GiB are available"
            )
        if pressure_of(free) in TIGHT and may_leave(entry) and not entry.waiting:
            yield f"{name} is idle and could be unloaded"


def _allocation(entry: Entry) -> str:
    measured = f", {_gib(entry.peak_bytes)} GiB measured" if entry.peak_bytes else ""
    return f"{_gib(entry.budget_bytes)} GiB budget{measured}; {POLICY_NAMES[entry.lane]}"


def _event(move: Move) -> MemoryEvent:
    return MemoryEvent(
        at=rfc3339(move.at),
        event=move.kind.value,
        worker=None if move.lane is None else WORKER_NAMES[move.lane],
        reason=move.why.value,
        made_for=None if move.beneficiary is None else WORKER_NAMES[move.beneficiary],
        operation=move.operation,
        succeeded=move.succeeded,
        seconds=move.seconds,
        freed=_mib(move.freed_bytes),
    )


def _gib(size: int) -> float:
    return round(size / GIB, 2)


def _mib(size: int) -> int:
    return round(size / MIB)
