"""The worker's main loop: it takes commands, hands work to threads, and reports.

It alone decides what an attempt's outcome is and sends it, so that there is exactly one. Nothing
in it waits for work: while an engine loads or computes, it answers and beats.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import msgspec

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import ModelLoadFailed, OurvidzError, Unavailable, WorkerLost
from ourvidz_worker.domain.messages import (
    Beat,
    Cancel,
    Command,
    Computed,
    Describe,
    Description,
    Drain,
    Finished,
    LoadFailed,
    Loading,
    Outcome,
    Ready,
    Report,
    Run,
    Trim,
)
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.engines import Engine
from ourvidz_worker.telemetry.log import Action
from ourvidz_worker.worker.account import failure, stopped
from ourvidz_worker.worker.attempt import Attempt, Ports, advance, advance_text, run_attempt
from ourvidz_worker.worker.gate import AttemptGate
from ourvidz_worker.worker.memory import peak_rss_bytes, rss_bytes
from ourvidz_worker.worker.pipe import PodLost
from ourvidz_worker.worker.spool import clear_spool
from ourvidz_worker.worker.threads import Threads

log = logging.getLogger(__name__)

BEAT_EVERY_S = 1.0
DRAINED, LOAD_FAILED, POD_LOST, ENGINE_LOST = 0, 3, 4, 5
"""Exit codes."""


class LoadEnded(msgspec.Struct, frozen=True, kw_only=True):
    """The thread that loads is done."""

    future: Future[Engine[Any]]


class Advanced(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt needs the device no more, or has ended, or was stopped before it began."""

    attempt_id: str
    future: Future[Computed | Outcome]


Event = Command | LoadEnded | Advanced | PodLost


@dataclass(kw_only=True)
class _Active:
    """An attempt that has no outcome yet."""

    run: Run
    gate: AttemptGate
    attempt: Attempt
    future: Future[Computed | Outcome] | None = None
    """Where it computes, encodes, or waits to."""


class Worker:
    """A worker from its start to its exit code; everything in it runs in the main thread."""

    def __init__(
        self,
        make: Callable[[], Engine[Any]],
        outline: Description,
        *,
        send: Callable[[Report], None],
        inbox: SimpleQueue[Event],
        clock: Clock,
        threads: Threads,
        trim: Callable[[], None] = lambda: None,
    ) -> None:
        """`make` builds the engine; `outline` describes it until it is loaded.

        `trim` gives cached device memory back.
        """
        self.exit_code: int | None = None
        self._make = make
        self._outline = outline
        self._send = send
        self._inbox = inbox
        self._clock = clock
        self._threads = threads
        self._trim = trim
        self._engine: Engine[Any] | None = None
        self._compute: Executor | None = None
        self._active: dict[str, _Active] = {}
        self._unnoted: list[Run] = []
        self._steps_of_ended = 0
        self._beat_at = clock.monotonic()
        self._stop_at: float | None = None

    def serve(self) -> int:
        """Load the engine and obey until drained; the exit code."""
        self.start()
        while self.exit_code is None:
            event = self._next_event()
            if event is not None:
                self.take(event)
            self.tick()
        if self._engine is not None and not self._active:
            self._engine.close()
        return self.exit_code

    def start(self) -> None:
        """Begin to load."""
        self._send(Loading(part="engine", fraction=0.0))
        loading = self._threads.load.submit(self._load)
        loading.add_done_callback(lambda future: self._inbox.put(LoadEnded(future=future)))

    def take(self, event: Event) -> None:
        """Obey one command, or go on where a thread has come to an end."""
        match event:
            case Run():
                self._run(event)
            case Cancel():
                self._stop(event.attempt_id, event.reason)
            case Describe():
                self._send(self._engine.describe() if self._engine else self._outline)
            case Trim():
                self._trim()
            case Drain():
                self._drain(event.grace_s)
            case LoadEnded():
                self._load_ended(event.future)
            case Advanced():
                self._advanced(event.attempt_id, event.future)
            case PodLost():
                log.error("pod lost", extra={"action": Action.POD_LOST, "reason": event.reason})
                self.exit_code = POD_LOST

    def tick(self) -> None:
        """Do what time asks for: beat, end the grace of a drain, leave when all is done."""
        now = self._clock.monotonic()
        if now >= self._beat_at:
            self._beat_at = now + BEAT_EVERY_S
            self._send(self._beat())
        if self._stop_at is None:
            return
        if now >= self._stop_at:
            for attempt_id in list(self._active):
                self._stop(attempt_id, "draining")
        if not self._active and self.exit_code is None:
            self.exit_code = DRAINED

    def patience_s(self) -> float:
        """How long nothing needs to be done, unless an event comes."""
        ends = [self._beat_at, *([] if self._stop_at is None else [self._stop_at])]
        now = self._clock.monotonic()
        return min((end - now for end in ends if end > now), default=BEAT_EVERY_S)

    def _next_event(self) -> Event | None:
        """The next event; None when it is time to look at the clock again."""
        try:
            return self._inbox.get_nowait()
        except Empty:
            self._note_accepted()
        try:
            return self._inbox.get(timeout=self.patience_s())
        except Empty:
            return None

    # ---- loading ----------------------------------------------------------------------------

    def _load(self) -> Engine[Any]:
        """In the thread that loads."""
        engine = self._make()
        engine.load(lambda part, fraction: self._send(Loading(part=part, fraction=fraction)))
        return engine

    def _load_ended(self, future: Future[Engine[Any]]) -> None:
        error = future.exception()
        if error is not None:
            self._give_up(error)
            return
        self._engine = future.result()
        description = self._engine.describe()
        self._compute = self._threads.compute(description.capacity)
        log.info("worker ready", extra={"action": Action.WORKER_READY})
        self._send(Ready(description=description))

    def _give_up(self, error: BaseException) -> None:
        told = error if isinstance(error, OurvidzError) else ModelLoadFailed()
        log.error(
            "load failed",
            exc_info=error,
            extra={"action": Action.LOAD_FAILED, "code": told.code, "facts": told.facts},
        )
        self._send(LoadFailed(code=told.code, sentence=told.sentence))
        self.exit_code = LOAD_FAILED

    # ---- attempts ---------------------------------------------------------------------------

    def _run(self, run: Run) -> None:
        if run.attempt_id in self._active:
            log.error("run came twice", extra=self._fields(run, Action.ATTEMPT_REPEATED))
            return
        if self._engine is None or self._compute is None or self._stop_at is not None:
            self._end(run, failure(run.attempt_id, Unavailable(), stage="load"))
            return
        gate = AttemptGate(run, self._clock, self._send)
        ports = Ports(engine=self._engine, gate=gate, clock=self._clock, peak_rss=peak_rss_bytes)
        active = _Active(run=run, gate=gate, attempt=run_attempt(run, ports))
        self._active[run.attempt_id] = active
        is_text = isinstance(run.request, ChatRequest)
        self._go_on(active, self._compute, advance_text if is_text else advance)
        self._unnoted.append(run)

    def _note_accepted(self) -> None:
        """Log what was accepted, in a quiet moment: of many that come at once none waits for it."""
        for run in self._unnoted:
            log.info("attempt accepted", extra=self._fields(run, Action.ATTEMPT_STARTED))
        self._unnoted.clear()

    def _go_on(
        self,
        active: _Active,
        executor: Executor,
        work: Callable[[Attempt], Computed | Outcome] = advance,
    ) -> None:
        attempt_id = active.run.attempt_id
        active.future = executor.submit(work, active.attempt)
        active.future.add_done_callback(
            lambda future: self._inbox.put(Advanced(attempt_id=attempt_id, future=future))
        )

    def _advanced(self, attempt_id: str, future: Future[Computed | Outcome]) -> None:
        active = self._active[attempt_id]
        if future.cancelled():
            # It never began this part, so its own border could not see the stop.
            self._end(active.run, stopped(attempt_id, active.gate.reason or "cancelled"))
            return
        if isinstance(lost := future.exception(), WorkerLost):
            log.error("engine lost", exc_info=lost, extra={"action": Action.ENGINE_LOST})
            self.exit_code = ENGINE_LOST
            return
        result = future.result()  # what is no `Exception` ends the process, and so is seen
        if isinstance(result, Computed):
            self._send(result)
            self._go_on(active, self._threads.encode)
        else:
            self._end(active.run, result)

    def _end(self, run: Run, outcome: Outcome) -> None:
        """The one place that sends an outcome; only a good one leaves files."""
        self._note_accepted()
        active = self._active.pop(run.attempt_id, None)
        self._steps_of_ended += active.gate.steps_done if active else 0
        if not isinstance(outcome, Finished):
            clear_spool(Path(run.spool))
        ending = type(outcome).__name__.lower()
        log.info(
            "attempt ended", extra=self._fields(run, Action.ATTEMPT_ENDED) | {"outcome": ending}
        )
        self._send(outcome)

    def _stop(self, attempt_id: str, reason: str) -> None:
        """Stop an attempt wherever it is; one that has ended is no error."""
        active = self._active.get(attempt_id)
        if active is None:
            return
        active.gate.stop(reason)
        if active.future is not None:
            active.future.cancel()

    def _drain(self, grace_s: float) -> None:
        """Take no more; of several drains the one that ends first counts."""
        log.info("worker draining", extra={"action": Action.WORKER_DRAINING, "grace_s": grace_s})
        stop_at = self._clock.monotonic() + grace_s
        self._stop_at = stop_at if self._stop_at is None else min(self._stop_at, stop_at)

    def _beat(self) -> Beat:
        steps = sum(active.gate.steps_done for active in self._active.values())
        return Beat(
            steps=self._steps_of_ended + steps,
            rss_bytes=rss_bytes(),
            loading=self._engine is None,
        )

    @staticmethod
    def _fields(run: Run, action: Action) -> dict[str, str]:
        return {"action": action, "attempt_id": run.attempt_id, "job_id": run.job_id}
