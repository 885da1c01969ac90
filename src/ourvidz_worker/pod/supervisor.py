"""The supervisor: keeps one lane's worker alive, and never two of them (contract O-4, O-5).

A worker that is not wanted has no process, which is the one sure way to free all that it held:
`unload` ends it, `load` starts a new one.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import (
    Conflict,
    ModelLoadFailed,
    OutOfMemory,
    Unavailable,
    WorkerLost,
)
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import Description, Failed, Finished, Outcome, Run
from ourvidz_worker.pod.link import Watch, WorkerLink
from ourvidz_worker.pod.news import News, first_of
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

UNLOAD_WAIT_S = 60.0
"""How long an unload waits for running users (2.4)."""

STOP_WAIT_S = 10.0
"""A worker that was told to stop or to leave and has not after this long is killed (K-20)."""

IN_USE = "The model is in use; try again when its work has ended, or force it."

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
        self.state = WorkerState.STOPPED
        self.started = asyncio.Event()
        """Set once the first start has succeeded or failed."""
        self.restarts = 0
        self.failure: str | None = None
        self.peak_bytes = 0
        """The most that an attempt was measured to use; 0 before the first one."""
        self.load_s: float | None = None
        """How long the last load took."""
        self.used_at: float | None = None
        """When an attempt last ended, wall clock."""
        self.relieve: Callable[[Lane], Awaitable[None]] | None = None
        """Asked to free the device when an attempt ran out of memory (M-5)."""
        self._start = start
        self._clock = clock
        self._jitter = jitter
        self._changed = changed
        self._link: WorkerLink | None = None
        self._ends: deque[float] = deque()
        self._stopping = asyncio.Event()
        self._wanted = True
        self._nudge = asyncio.Event()
        self._news = News(clock)
        self.slots = Slots(self._news.tell)

    @property
    def description(self) -> Description | None:
        """What the present worker is and holds; None while it is not ready."""
        return self._link.description if self._link else None

    @property
    def link(self) -> WorkerLink | None:
        """The present incarnation."""
        return self._link

    @property
    def stopping(self) -> bool:
        """True once the pod ends its workers: none is loaded or unloaded any more."""
        return self._stopping.is_set()

    @property
    def busy(self) -> bool:
        """True while the worker has work, or somebody has a slot of it, or waits for one."""
        return self._is_working or self.slots.waiting > 0

    @property
    def _is_working(self) -> bool:
        return bool(self._link and self._link.running) or self.slots.taken > 0

    async def serve(self) -> None:
        """Keep the worker alive until `stop`; returns when its last process has ended."""
        while not self._stopping.is_set():
            if not self._wanted:
                await self._sleep_unwanted()
                continue
            self._move(WorkerState.STARTING)
            try:
                code = await self._live()
            except Exception:  # border 3 of 3: a watch that breaks must not end the lane
                log.exception("watch broke", extra={"action": Action.WATCH_BROKE})
                code = BROKEN_WATCH
            self.slots.close()
            if self._stopping.is_set():
                break
            if self._wanted:
                self._count_end(code)
                await self._rest()
        self._move_to_stopped()

    def hold_back(self) -> None:
        """Do not start the worker before it is asked for; only before `serve`."""
        self._wanted = False

    async def load(self) -> None:
        """Start the worker unless it is up; returns once it can serve.

        Raises `ModelLoadFailed`, with the process ended, or `Unavailable` when the pod stops.
        """
        ends = self.restarts
        if self.state is not WorkerState.READY:
            self._wanted = True
            self._nudge.set()
        await self._news.until(
            lambda: (
                self.state is WorkerState.READY or self.restarts > ends or self._stopping.is_set()
            )
        )
        if self._stopping.is_set():
            raise Unavailable
        if self.state is not WorkerState.READY:
            raise ModelLoadFailed

    async def is_up_within(self, seconds: float) -> bool:
        """Wait until the worker can serve; False when it cannot after `seconds`."""
        return await self._news.until(lambda: self.state is WorkerState.READY, seconds)

    async def unload(self, *, force: bool = False, wait_s: float = UNLOAD_WAIT_S) -> None:
        """End the worker once nothing runs on it; it stays away until `load`.

        With `force` its work is stopped at the next step and goes back to the queue. Raises
        `Conflict` when work still runs after `wait_s`; the worker then serves on. Raises
        `Unavailable` when the pod stops, which ends every worker in its own way.
        """
        if self._stopping.is_set():
            raise Unavailable
        self._wanted = False
        self._nudge.set()
        if self.state is WorkerState.READY:
            self._move(WorkerState.DRAINING)
            self.slots.pause()
            await self._empty(force=force, wait_s=wait_s)
        await self._end()

    async def _empty(self, *, force: bool, wait_s: float) -> None:
        """Wait until nothing runs; on any other way out the worker serves on."""
        is_empty = False
        try:
            if force:
                await self._cancel_all("draining")
            is_empty = await self._news.until(
                lambda: self._link is None or not self._is_working or self._stopping.is_set(),
                STOP_WAIT_S if force else wait_s,
            )
            is_empty = is_empty or force
        finally:
            if not (is_empty or self._link is None or self._stopping.is_set()):
                self._wanted = True
                self._move(WorkerState.READY)
                self.slots.resume()
        if self._stopping.is_set():
            raise Unavailable
        if not is_empty:
            raise Conflict(IN_USE)

    async def _cancel_all(self, reason: str) -> None:
        for attempt_id in self._link.running if self._link else ():
            await self.cancel(attempt_id, reason)

    async def _end(self) -> None:
        """End the process, by asking and then by force, and wait until it has gone."""
        link = self._link
        if link is not None:
            link.give_up("draining")
            await link.drain(0.0)
            if not link.ready.is_set():
                link.kill()
        if not await self._news.until(lambda: self.state is WorkerState.STOPPED, STOP_WAIT_S):
            self.kill()
            await self._news.until(lambda: self.state is WorkerState.STOPPED)
        log.info("worker released", extra={"action": Action.WORKER_RELEASED, "lane": self.lane})

    async def run(self, run: Run, watch: Watch) -> Outcome:
        """Run one attempt on the present worker. Raises `WorkerLost`, `DeadlinePassed`."""
        link = self._link
        if self.state is WorkerState.FAILED:
            raise ModelLoadFailed
        if link is None or not link.ready.is_set():
            raise WorkerLost
        link.set_deadline(run.attempt_id, run.deadline_s)
        try:
            outcome = await link.run(run, watch)
        finally:
            self.used_at = self._clock.now()
            self._news.tell()
        if isinstance(outcome, Finished):
            self.peak_bytes = max(self.peak_bytes, outcome.receipt.peak_bytes)
        if isinstance(outcome, Failed) and outcome.code == OutOfMemory.code:
            await link.trim()
            if self.relieve is not None:
                await self.relieve(self.lane)
        return outcome

    def holds(self, attempt_id: str) -> bool:
        """True while the present worker has that attempt."""
        return self._link is not None and self._link.holds(attempt_id)

    async def cancel(self, attempt_id: str, reason: str = "cancelled") -> None:
        """Stop one attempt at its next step; one that has ended is no error."""
        if self._link is not None:
            await self._link.cancel(attempt_id, reason)

    async def trim(self) -> None:
        """Have cached device memory given back; away or busy, there is nothing to give."""
        if self._link is not None and not self._link.running:
            await self._link.trim()

    async def stop(self, grace_s: float) -> None:
        """Let the worker finish for `grace_s`, then end it; `serve` returns afterwards."""
        self._stopping.set()
        self._news.tell()
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
        born = self._clock.monotonic()
        if not self._wanted:
            link.kill()
        guard = asyncio.create_task(self._guard(link))
        opener = asyncio.create_task(self._open_when_ready(link, born))
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
            logging.WARNING if self._wanted and not self._stopping.is_set() else logging.INFO,
            "worker ended",
            extra={"action": Action.WORKER_ENDED, "lane": self.lane, "exit_code": code},
        )
        return code

    async def _open_when_ready(self, link: WorkerLink, born: float) -> None:
        await link.ready.wait()
        if link.description is None or self._stopping.is_set() or not self._wanted:
            return
        self.load_s = self._clock.monotonic() - born
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
        self._nudge.clear()
        await first_of(self._clock.sleep(delay), self._stopping.wait(), self._nudge.wait())

    async def _sleep_unwanted(self) -> None:
        """Have no process until `load` or `stop`."""
        self._move_to_stopped()
        self.started.set()
        self._nudge.clear()
        await first_of(self._stopping.wait(), self._nudge.wait())

    def _move_to_stopped(self) -> None:
        if self.state is WorkerState.STOPPED:
            return
        if self.state is not WorkerState.DRAINING:
            self._move(WorkerState.DRAINING)
        self._move(WorkerState.STOPPED)

    def _move(self, to: WorkerState) -> None:
        if to is self.state:
            return
        if to not in WORKER_MOVES[self.state]:
            raise AssertionError(f"a worker cannot move from {self.state} to {to}")
        self.state = to
        if to is not WorkerState.STARTING:
            self.started.set()
        self._news.tell()
        self._changed()
