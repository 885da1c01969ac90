"""Health: a snapshot of the pod, made once a second, answered without asking anybody (H-10)."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import QueueUnavailable, UploadFailed
from ourvidz_worker.domain.health import Depth, HealthStatus, HealthView
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.supervisor import SILENT_AFTER_S, Supervisor
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.queue import Queue
from ourvidz_worker.storage import Storage

REFRESH_S = 1.0

BASE_COMPONENT = "base_model"
"""What a chat worker calls its Base model, where it has one."""

DEFAULT_LANE = {"wan": Lane.IMAGE, "chat": Lane.CHAT}
"""The lane whose model is each port's default (H-12)."""


class Health:
    """Keeps the snapshot; every lane it is given is one the pod serves."""

    def __init__(
        self,
        workers: Mapping[Lane, Supervisor],
        queue: Queue,
        storage: Storage,
        clock: Clock,
        *,
        refused: Callable[[], bool],
        limits: Mapping[str, int | float],
    ) -> None:
        """`refused` is true while the callback endpoint rejects our credentials."""
        self._workers = workers
        self._queue = queue
        self._storage = storage
        self._clock = clock
        self._refused = refused
        self._limits = dict(limits)
        self._begun = clock.monotonic()
        self._depths: dict[Lane, Depth] = {lane: Depth() for lane in Lane}
        self._faults: list[str] = []
        self._stats: Counter[str] = Counter(
            requests_served=0, jobs_completed=0, jobs_failed=0, jobs_cancelled=0
        )
        self.draining = False

    def count(self, name: str) -> None:
        """Count one of the things `/health` tells of, such as `requests_served`."""
        self._stats[name] += 1

    async def keep_fresh(self) -> None:
        """Look at the queue and the storage once a second."""
        while True:
            await self.refresh()
            await self._clock.sleep(REFRESH_S)

    async def refresh(self) -> None:
        """Look once."""
        faults = []
        try:
            self._depths |= await self._queue.depths()
        except QueueUnavailable:
            faults.append("the queue cannot be reached")
        try:
            await self._storage.check()
        except UploadFailed:
            faults.append("results cannot be stored")
        self._faults = faults

    def depths(self) -> dict[Lane, Depth]:
        """How many jobs of each lane waited, and were leased, at the last look."""
        return dict(self._depths)

    def limits(self) -> dict[str, int | float]:
        """The limits a caller may run into."""
        return dict(self._limits)

    def health(self, side: Literal["wan", "chat"]) -> HealthView:
        """The snapshot as one port shows it."""
        default = self._workers.get(DEFAULT_LANE[side])
        loaded = default is not None and default.state is WorkerState.READY
        problems = self._problems()
        return HealthView(
            status=self._status(default, problems),
            ready=loaded and not self.draining,
            model_loaded=loaded,
            draining=self.draining,
            uptime_s=round(self._clock.monotonic() - self._begun, 3),
            queue=dict(self._depths),
            models_loaded=models_loaded(self._workers),
            workers={lane: self._worker_view(worker) for lane, worker in self._workers.items()},
            stats=dict(self._stats),
            problems=tuple(problems),
            at=self._clock.now(),
        )

    def _status(self, default: Supervisor | None, problems: list[str]) -> HealthStatus:
        if self.draining:
            return "draining"
        wanted = [one for one in self._workers.values() if one.state is not WorkerState.STOPPED]
        if wanted and all(self._is_dead(worker) for worker in wanted):
            return "unhealthy"
        if default is not None and default.state is WorkerState.STARTING and not default.restarts:
            return "starting"
        return "degraded" if problems else "healthy"

    def _is_dead(self, worker: Supervisor) -> bool:
        """No engine process, or one that has not been heard for too long outside a load."""
        if worker.state in {WorkerState.FAILED, WorkerState.BACKOFF}:
            return True
        link = worker.link
        if link is None or not link.ready.is_set():
            return False
        return self._clock.monotonic() - link.last_beat > SILENT_AFTER_S

    def _is_down(self, worker: Supervisor) -> bool:
        """Dead, or on its way back after it ended by itself."""
        is_restarting = worker.state is WorkerState.STARTING and worker.restarts > 0
        return is_restarting or self._is_dead(worker)

    def _problems(self) -> list[str]:
        down = [
            f"the {lane.value} lane is down"
            for lane, worker in self._workers.items()
            if self._is_down(worker)
        ]
        refused = ["callbacks are refused"] if self._refused() else []
        return [*self._faults, *down, *refused]

    def _worker_view(self, worker: Supervisor) -> dict[str, str | int | float | bool | None]:
        link, description = worker.link, worker.description
        view: dict[str, str | int | float | bool | None] = {
            "state": worker.state.value,
            "restarts": worker.restarts,
            "running": worker.slots.taken,
            "failure": worker.failure,
        }
        if link is not None:
            view |= {"steps": link.beat.steps, "rss_bytes": link.beat.rss_bytes}
            view |= {"loading": link.loading.part, "loaded_fraction": link.loading.fraction}
        if description is not None:
            view |= {"engine": description.engine, "model": description.model}
            view["device"] = description.device
            if base := description.details.get(f"{BASE_COMPONENT}_name"):
                view[BASE_COMPONENT] = base
        return view


def models_loaded(workers: Mapping[Lane, Supervisor]) -> dict[str, bool | str | None]:
    """Which models can serve now, in the contract's words (2.4)."""
    ready = {lane: worker.state is WorkerState.READY for lane, worker in workers.items()}
    chat = workers.get(Lane.CHAT)
    components = chat.description.components if chat and chat.description else {}
    return {
        "instruct_loaded": ready.get(Lane.CHAT, False),
        "base_loaded": ready.get(Lane.CHAT, False) and BASE_COMPONENT in components,
        "sdxl_loaded": ready.get(Lane.IMAGE, False),
        "wan_loaded": ready.get(Lane.VIDEO, False),
        "active_model_type": "instruct" if ready.get(Lane.CHAT) else None,
    }
