"""What a pod says of its own health (contract 2.5)."""

from typing import Literal

import msgspec

from ourvidz_worker.domain.lane import Lane


class Depth(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a lane wait, and how many are leased."""

    waiting: int = 0
    leased: int = 0


HealthStatus = Literal["healthy", "starting", "degraded", "draining", "unhealthy"]


class HealthView(msgspec.Struct, frozen=True, kw_only=True):
    """A snapshot at most 2 s old; building the reply takes no lock and no device call (H-10)."""

    status: HealthStatus
    ready: bool
    model_loaded: bool
    draining: bool
    uptime_s: float
    queue: dict[Lane, Depth]
    models_loaded: dict[str, bool | str | None]
    workers: dict[Lane, dict[str, str | int | float | bool | None]]
    stats: dict[str, int]
    problems: tuple[str, ...] = ()
    at: float = 0.0
