"""A link: one incarnation of a worker, from its start to its end.

It carries attempts down the pipe and their reports up, and turns the end of the process into
`WorkerLost` for every attempt that it still owed an outcome.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import DeadlinePassed, WorkerLost
from ourvidz_worker.domain.messages import (
    Beat,
    Cancel,
    Command,
    Computed,
    Description,
    Drain,
    Failed,
    Finished,
    LoadFailed,
    Loading,
    Outcome,
    Preview,
    Progress,
    Ready,
    Report,
    Run,
    Stopped,
    TextPiece,
    Trim,
)
from ourvidz_worker.pod.pipe import WorkerPipe
from ourvidz_worker.pod.process import WorkerProcess
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

Watch = Callable[[Report], None]

ENCODE_S = 180.0
"""Files are written on the CPU, outside the time in work: seconds, unless an encoder hangs."""

DEADLINE_GRACE_S = 10.0
"""A worker stops an attempt at its deadline by itself; this much later it is killed."""


class WorkerLink:
    """A running worker process and its pipe."""

    def __init__(self, process: WorkerProcess, pipe: WorkerPipe, clock: Clock) -> None:
        """Take over a started process that will connect to `pipe`."""
        self._process = process
        self._pipe = pipe
        self._clock = clock
        self._runs: dict[str, tuple[asyncio.Future[Outcome], Watch]] = {}
        self._deadlines: dict[str, float] = {}
        self._late: set[str] = set()
        self.description: Description | None = None
        self.load_failure: LoadFailed | None = None
        self.loading = Loading(part="process", fraction=0.0)
        self.ready = asyncio.Event()
        self.last_beat = clock.monotonic()
        self.beat = Beat(steps=0, rss_bytes=0, loading=True)

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def running(self) -> tuple[str, ...]:
        """The attempts that the worker has and that have no outcome yet."""
        return tuple(self._runs)

    async def listen(self) -> int:
        """Pass reports on until the process has ended; return its exit code.

        Every attempt without an outcome then fails with `WorkerLost`, or with `DeadlinePassed`
        when the process was killed for that attempt's deadline.
        """
        reader = asyncio.create_task(self._read())
        try:
            code = await self._process.wait()
            reader.cancel()
            while await self._pipe.pending():
                self._take_all(await self._pipe.receive())
            return code
        finally:
            reader.cancel()
            self._pipe.close()
            for attempt_id, (future, _) in self._runs.items():
                if not future.done():
                    future.set_exception(
                        DeadlinePassed() if attempt_id in self._late else WorkerLost()
                    )

    async def run(self, run: Run, watch: Watch) -> Outcome:
        """Run one attempt; `watch` sees its reports. Raises `WorkerLost`, `DeadlinePassed`."""
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._runs[run.attempt_id] = (future, watch)
        try:
            await self._send(run, future)
            return await future
        finally:
            self._runs.pop(run.attempt_id, None)
            self._deadlines.pop(run.attempt_id, None)

    def holds(self, attempt_id: str) -> bool:
        """True while the worker has that attempt."""
        return attempt_id in self._runs

    async def cancel(self, attempt_id: str, reason: str) -> None:
        """Ask the worker to stop one attempt at its next step.

        One that is cancelled and does not stop within the grace is ended with its worker (K-20).
        """
        if attempt_id in self._runs:
            if reason == "cancelled":
                end = self._clock.monotonic() + DEADLINE_GRACE_S
                self._deadlines[attempt_id] = min(end, self._deadlines.get(attempt_id, end))
            await self._tell(Cancel(attempt_id=attempt_id, reason=reason))

    async def drain(self, grace_s: float) -> None:
        """Ask the worker to finish what it can in `grace_s`, and to exit."""
        if self.ready.is_set():
            await self._tell(Drain(grace_s=grace_s))

    async def trim(self) -> None:
        """Ask the worker to give cached device memory back; it does so before its next attempt."""
        if self.ready.is_set():
            await self._tell(Trim())

    def give_up(self, reason: str) -> None:
        """Whatever still runs counts as stopped for `reason`, whatever the worker says later."""
        for attempt_id, (future, _) in self._runs.items():
            if not future.done():
                future.set_result(Stopped(attempt_id=attempt_id, reason=reason))

    def enforce_deadlines(self) -> None:
        """Kill the worker when an attempt has outlived its deadline by the grace (Q-11)."""
        now = self._clock.monotonic()
        late = {key for key, at in self._deadlines.items() if now > at and key in self._runs}
        if late:
            self._late |= late
            log.warning(
                "worker killed: deadline", extra={"action": Action.WORKER_KILLED, "pid": self.pid}
            )
            self._process.kill()

    def kill(self) -> None:
        """End the worker's process group at once."""
        self._process.kill()

    async def _send(self, run: Run, future: "asyncio.Future[Outcome]") -> None:
        try:
            await self._pipe.send(run)
        except WorkerLost:
            if not future.done():
                raise

    async def _tell(self, command: Command) -> None:
        """Send what a worker that has ended meanwhile need not know."""
        with suppress(WorkerLost):
            await self._pipe.send(command)

    async def _read(self) -> None:
        while True:
            self._take_all(await self._pipe.receive())
            await self._clock.sleep(0)  # a pipe that is never empty does not give way by itself

    def _take_all(self, reports: Sequence[Report]) -> None:
        self.last_beat = self._clock.monotonic()
        for report in reports:
            self._take(report)

    def _take(self, report: Report) -> None:
        match report:
            case TextPiece() | Progress() | Preview() | Computed():
                self._pass_on(report)
            case Finished() | Failed() | Stopped():
                self._end(report)
            case Beat():
                self.beat = report
            case Loading():
                self.loading = report
            case LoadFailed():
                self.load_failure = report
            case Ready(description=description):
                self.description = description
                self.ready.set()
            case Description():
                self.description = report

    def _pass_on(self, report: Progress | Preview | TextPiece | Computed) -> None:
        if isinstance(report, Computed):
            self.set_deadline(report.attempt_id, ENCODE_S)
        if report.attempt_id in self._runs:
            self._runs[report.attempt_id][1](report)

    def _end(self, outcome: Outcome) -> None:
        if outcome.attempt_id in self._runs:
            future, _ = self._runs[outcome.attempt_id]
            if not future.done():
                future.set_result(outcome)

    def set_deadline(self, attempt_id: str, deadline_s: float) -> None:
        """Count `deadline_s` from now; `enforce_deadlines` acts on it."""
        self._deadlines[attempt_id] = self._clock.monotonic() + deadline_s + DEADLINE_GRACE_S
