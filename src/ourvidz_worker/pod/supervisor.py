"""The supervisor: keeps one lane's worker alive, and never two of them (contract O-4, O-5)."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import ModelLoadFailed, WorkerLost
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import Description, Outcome, Run
from ourvidz_worker.pod.link import Watch, WorkerLink
from ourvidz_worker.pod.slots import Slots
from ourvidz_worker.pod.worker_state import WORKER_MOVES, WorkerState
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

FIRST_BACKOFF_S, MAX_BACKOFF_S = 1.0, 60.0
CALM_AFTER_S = 600.0
"""Up this long, a worker's earlier ends are forgotten (O-4)."""

MAX_RESTARTS, FAILED_RETRY_S = 5, 300.0
SILENT_AFTER_S, SILENT_LOADING_AFTER_S = 120.0, 300.0
"""Without a beat for this long a worker counts as hung (H-12); a load may be silent longer."""

WATCH_EVERY_S = 1.0
BROKEN_WATCH = -1
"""Stands for the exit code of a worker that could not be started or watched."""


class Supervisor:
    """One lane's worker through all its incarnations."""

    def __init__(
        self,
        lane: Lane,
        start: Callable[[Lane], Awaitable[WorkerLink]],
        clock: Clock,
        *,
        jitter: Callable[[], float],
        changed: Callable[[], None],
    ) -> None:
        """`start` makes a new incarnation; `jitter` is 0..1; `changed` hears of each move."""
        self.lane = lane
        self.slots = Slots()
        self.state = WorkerState.STOPPED
        self.started = asyncio.Event()
        """Set once the first start has succeeded or failed."""
        self.restarts = 0
        self.failure: str | None = None
        self._start = start
        self._clock = clock
        self._jitter = jitter
        self._changed = changed
        self._link: WorkerLink | None = None
        self._ends: deque[float] = deque()
        self._stopping = asyncio.Event()

    @property
    def description(self) -> Description | None:
        """What the present worker is and holds; None while it is not ready."""
        return self._link.description if self._link else None

    @property
    def link(self) -> WorkerLink | None:
        """The present incarnation."""
        return self._link

    async def serve(self) -> None:
        """Keep the worker alive until `stop`; returns when its last process has ended."""
        while not self._stopping.is_set():
            self._move(WorkerState.STARTING)
            try:
                code = await self._live()
            except Exception:  # border 3 of 3: a watch that breaks must not end the lane
                log.exception("watch broke", extra={"action": Action.WATCH_BROKE})
                code = BROKEN_WATCH
            self.slots.close()
            if self._stopping.is_set():
                break
            self._count_end(code)
            await self._rest()
        if self.state is not WorkerState.DRAINING:
            self._move(WorkerState.DRAINING)
        self._move(WorkerState.STOPPED)

    async def run(self, run: Run, watch: Watch) -> Outcome:
        """Run one attempt on the present worker. Raises `WorkerLost`, `DeadlinePassed`."""
        link = self._link
        if self.state is WorkerState.FAILED:
            raise ModelLoadFailed
        if link is None or not link.ready.is_set():
            raise WorkerLost
        link.set_deadline(run.attempt_id, run.deadline_s)
        return await link.run(run, watch)

    def holds(self, attempt_id: str) -> bool:
        """True while the present worker has that attempt."""
        return self._link is not None and self._link.holds(attempt_id)

    async def cancel(self, attempt_id: str, reason: str = "cancelled") -> None:
        """Stop one attempt at its next step; one that has ended is no error."""
        if self._link is not None:
            await self._link.cancel(attempt_id, reason)

    async def stop(self, grace_s: float) -> None:
        """Let the worker finish for `grace_s`, then end it; `serve` returns afterwards."""
        self._stopping.set()
        if self._link is None:
            return
        self._move(WorkerState.DRAINING)
        await self._link.drain(grace_s)
        if not self._link.ready.is_set():
            self._link.kill()

    def kill(self) -> None:
        """End the present worker's process group at once."""
        if self._link is not None:
            self._link.kill()

    async def _live(self) -> int:
        """One incarnation, from start to end; its exit code."""
        self._link = link = await self._start(self.lane)
        log.info(
            "worker started",
            extra={"action": Action.WORKER_STARTED, "lane": self.lane, "pid": link.pid},
        )
        guard = asyncio.create_task(self._guard(link))
        opener = asyncio.create_task(self._open_when_ready(link))
        born = self._clock.monotonic()
        try:
            code = await link.listen()
        finally:
            guard.cancel()
            opener.cancel()
            self._link = None
        if self._clock.monotonic() - born >= CALM_AFTER_S:
            self._ends.clear()
        self.failure = link.load_failure.sentence if link.load_failure else None
        log.log(
            logging.INFO if self._stopping.is_set() else logging.WARNING,
            "worker ended",
            extra={"action": Action.WORKER_ENDED, "lane": self.lane, "exit_code": code},
        )
        return code

    async def _open_when_ready(self, link: WorkerLink) -> None:
        await link.ready.wait()
        if link.description is None or self._stopping.is_set():
            return
        self._move(WorkerState.READY)
        self.slots.open(link.description.capacity)
        log.info("worker ready", extra={"action": Action.WORKER_READY, "lane": self.lane})
        self._changed()

    async def _guard(self, link: WorkerLink) -> None:
        """Kill a worker that is silent, or that has outlived an attempt's deadline."""
        while True:
            await self._clock.sleep(WATCH_EVERY_S)
            link.enforce_deadlines()
            allowed = SILENT_AFTER_S if link.ready.is_set() else SILENT_LOADING_AFTER_S
            if self._clock.monotonic() - link.last_beat > allowed:
                log.error("worker silent", extra={"action": Action.WORKER_KILLED, "pid": link.pid})
                link.kill()

    def _count_end(self, code: int) -> None:
        now = self._clock.monotonic()
        self.restarts += 1
        self._ends.append(now)
        while self._ends and now - self._ends[0] > CALM_AFTER_S:
            self._ends.popleft()
        failed = len(self._ends) > MAX_RESTARTS
        if failed:
            log.error("worker failed", extra={"action": Action.WORKER_FAILED, "exit_code": code})
            self.slots.refuse()
        self._move(WorkerState.FAILED if failed else WorkerState.BACKOFF)

    async def _rest(self) -> None:
        """Wait out the back-off, or until `stop`."""
        if self.state is WorkerState.FAILED:
            delay = FAILED_RETRY_S
        else:
            exponent = max(0, len(self._ends) - 1)
            delay = min(MAX_BACKOFF_S, FIRST_BACKOFF_S * 2**exponent) * (0.75 + self._jitter() / 2)
        waiters = [
            asyncio.create_task(self._clock.sleep(delay)),
            asyncio.create_task(self._stopping.wait()),
        ]
        await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        for waiter in waiters:
            waiter.cancel()

    def _move(self, to: WorkerState) -> None:
        if to is self.state:
            return
        if to not in WORKER_MOVES[self.state]:
            raise AssertionError(f"a worker cannot move from {self.state} to {to}")
        self.state = to
        if to is not WorkerState.STARTING:
            self.started.set()
        self._changed()
