"""The words of device memory: who holds how much, what was moved and why (contract 9).

Sizes are bytes unless a name says otherwise; GB in the contract's memory rules means GiB.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

import msgspec

from ourvidz_worker.domain.lane import Lane

MIB, GIB = 1 << 20, 1 << 30

#: What the contract calls the worker of each lane.
WORKER_NAMES: Mapping[Lane, str] = MappingProxyType(
    {Lane.IMAGE: "sdxl", Lane.CHAT: "chat", Lane.VIDEO: "wan"}
)


class Pressure(StrEnum):
    """How little memory is available (M-3)."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class Residence(StrEnum):
    """Where a worker's weights are."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    LOADED = "loaded"
    UNLOADING = "unloading"
    BROKEN = "error"
    """It ended by itself and is started again after a pause."""


class MoveKind(StrEnum):
    """What was done to a worker's memory."""

    LOAD = "load"
    EVICT = "evict"
    UNLOAD = "unload"
    OPERATION = "operation"
    """An operator's command; the moves it made have entries of their own."""


class Why(StrEnum):
    """The reason of a move."""

    START = "start"
    DEMAND = "demand"
    """Work waits for it."""
    PREDICTED = "predicted"
    """Work is expected (M-6)."""
    RESTORED = "restored"
    """It belongs there, and there is room again."""
    ROOM = "room"
    """Another worker needs the room."""
    OUT_OF_MEMORY = "out_of_memory"
    """An attempt ran out of memory (M-5)."""
    OPERATOR = "operator"


class Move(msgspec.Struct, frozen=True, kw_only=True):
    """One thing done; `at` in seconds since the epoch, `freed_bytes` as the device shows it."""

    at: float
    kind: MoveKind
    why: Why
    lane: Lane | None = None
    beneficiary: Lane | None = None
    """Whom the room was made for."""
    operation: str | None = None
    succeeded: bool = True
    seconds: float = 0.0
    freed_bytes: int = 0


class Operation(StrEnum):
    """The commands of `/emergency/operation`."""

    STATUS = "status"
    PRESSURE_CHECK = "pressure_check"
    MEMORY_REPORT = "memory_report"
    FORCE_UNLOAD = "force_unload"
    FORCE_UNLOAD_ALL_EXCEPT = "force_unload_all_except"
    FORCE_CLEANUP = "force_cleanup"
    HANDLE_EMERGENCY_REQUEST = "handle_emergency_request"
    PREDICTIVE_LOAD = "predictive_load"


#: The operations that change nothing.
READ_OPERATIONS = frozenset({Operation.STATUS, Operation.PRESSURE_CHECK, Operation.MEMORY_REPORT})

Side = Literal["wan", "chat"]
"""Which of the two ports asks."""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """One operation with its arguments; `required_gb` in GiB."""

    operation: Operation
    target: Lane | None = None
    required_gb: float | None = None
    force: bool = False
    reason: str | None = None


class VramUsage(msgspec.Struct, frozen=True, kw_only=True):
    """The device as its driver shows it, MiB."""

    total: int
    used: int
    free: int
    pressure: str


class MemoryStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How the device's memory is used, GiB; `memory_fraction` is that of the port's own worker."""

    total_vram: float
    allocated_vram: float
    available_vram: float
    model_loaded: bool
    instruct_loaded: bool
    base_loaded: bool
    sdxl_loaded: bool
    wan_loaded: bool
    memory_fraction: float
    worker_type: str
    vram_usage: VramUsage
    workers: dict[str, str]
    memory_allocation: dict[str, str]


class WorkerMemory(msgspec.Struct, frozen=True, kw_only=True):
    """One worker: what it counts for now and at most, MiB; `last_used` is RFC 3339 or null."""

    loaded: bool
    memory: int
    peak: int | None
    in_use: bool
    last_used: str | None
    state: str
    budget: int
    pinned: bool


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of one worker: waiting jobs, recent arrivals, and work within one load."""

    waiting: int
    arrivals_per_minute: float
    expected: float
    load_seconds: float | None


class MemoryEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One move as it is told; `freed` in MiB."""

    at: str
    event: str
    worker: str | None
    reason: str
    made_for: str | None
    operation: str | None
    succeeded: bool
    seconds: float
    freed: int


class MemoryReport(msgspec.Struct, frozen=True, kw_only=True):
    """Every worker's memory, what to do, what is expected, and the last moves.

    Without a device `pressure_level` and `available_vram` (MiB) are null.
    """

    pressure_level: str | None
    available_vram: int | None
    worker_status: dict[str, WorkerMemory]
    recommendations: tuple[str, ...]
    predictions: dict[str, Prediction]
    events: tuple[MemoryEvent, ...]


class MemoryTable(msgspec.Struct, frozen=True, kw_only=True):
    """The memory at one moment: available GiB (null without a device), and each worker."""

    available_gb: float | None
    pressure: str | None
    workers: dict[str, str]


class OperationReply(msgspec.Struct, frozen=True, kw_only=True):
    """What an operation did; the members of the report are there for `memory_report` alone."""

    operation: str
    action_taken: str
    freed_gb: float
    before: MemoryTable
    after: MemoryTable
    pressure: str | None
    success: bool = True
    pressure_level: str | msgspec.UnsetType | None = msgspec.UNSET
    available_vram: int | msgspec.UnsetType | None = msgspec.UNSET
    worker_status: dict[str, WorkerMemory] | msgspec.UnsetType = msgspec.UNSET
    recommendations: tuple[str, ...] | msgspec.UnsetType = msgspec.UNSET
    predictions: dict[str, Prediction] | msgspec.UnsetType = msgspec.UNSET
    events: tuple[MemoryEvent, ...] | msgspec.UnsetType = msgspec.UNSET
