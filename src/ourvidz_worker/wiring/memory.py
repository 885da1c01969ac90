"""The device's memory, built from the configuration: the meter, the budgets, the broker."""

from collections.abc import Mapping

from msgspec.structs import replace

from ourvidz_worker.clock import Clock
from ourvidz_worker.config import Config
from ourvidz_worker.domain.lane import START_ORDER, Lane
from ourvidz_worker.domain.memory import GIB
from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.pod.health import Health
from ourvidz_worker.pod.memory import Memory
from ourvidz_worker.pod.memory_broker import MemoryBroker
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.residency.budgets import BUDGETS, budget_of, fraction_of
from ourvidz_worker.residency.ledger import Ledger
from ourvidz_worker.residency.meter import Meter, NoMeter
from ourvidz_worker.residency.nvml import NvmlMeter
from ourvidz_worker.residency.simulated import SimulatedMeter
from ourvidz_worker.wiring.models import card_of, engine_of

HOLDING = frozenset({WorkerState.READY, WorkerState.DRAINING})
"""A worker in these states has its memory; one that loads is counted by the ledger."""


def card_bytes(config: Config) -> int:
    """The size of the device whose memory is rationed; 0 where there is none."""
    if _computes_on_a_card(config):
        reading = NvmlMeter(card_of(config)).read_now()
        if reading is not None:
            return reading.total_bytes
    return int(config.device_memory_gb * GIB)


def shared_out(
    models: Mapping[Lane, EngineSettings], total_bytes: int
) -> dict[Lane, EngineSettings]:
    """The engines' settings, each with its budget's share of this card as its cap (M-1)."""
    if not total_bytes:
        return dict(models)
    return {
        lane: settings
        if settings.memory_fraction is None
        else replace(
            settings, memory_fraction=fraction_of(lane, settings.memory_fraction, total_bytes)
        )
        for lane, settings in models.items()
    }


def make_memory(
    config: Config,
    total_bytes: int,
    workers: Mapping[Lane, Supervisor],
    health: Health,
    clock: Clock,
) -> Memory:
    """The memory of a device of `total_bytes`, or of none, over these workers."""
    given = {
        Lane.IMAGE: config.sdxl_memory_fraction,
        Lane.CHAT: config.chat_memory_fraction,
        Lane.VIDEO: config.wan_memory_fraction,
    }
    budgets = {
        lane: budget_of(lane, given[lane], total_bytes) if total_bytes else BUDGETS[lane]
        for lane in workers
    }
    broker = MemoryBroker(
        workers,
        Ledger(budgets),
        _meter(config, total_bytes, workers, budgets),
        clock,
        depths=health.depths,
        total_bytes=total_bytes,
    )
    shares = {lane: budget / total_bytes for lane, budget in budgets.items() if total_bytes}
    return Memory(broker, shares)


def _meter(
    config: Config,
    total_bytes: int,
    workers: Mapping[Lane, Supervisor],
    budgets: Mapping[Lane, int],
) -> Meter:
    if not total_bytes:
        return NoMeter()
    if _computes_on_a_card(config) and NvmlMeter.is_there(card_of(config)):
        return NvmlMeter(card_of(config))

    def used() -> int:
        return sum(
            worker.peak_bytes or budgets[lane]
            for lane, worker in workers.items()
            if worker.state in HOLDING
        )

    return SimulatedMeter(total_bytes, used)


def _computes_on_a_card(config: Config) -> bool:
    """True when a worker would take CUDA if there is any."""
    engines = {engine_of(config, lane) for lane in START_ORDER}
    return engines != {"fake"} and not config.device.startswith("cpu")
