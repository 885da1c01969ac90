"""The gate of one attempt: each step reports here, and asks whether to go on."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import StopRequested, ThumbnailFailed
from ourvidz_worker.domain.messages import Preview, Progress, Report, Run, TextPiece
from ourvidz_worker.domain.text_reply import TokenChoice
from ourvidz_worker.engines import Stage
from ourvidz_worker.telemetry.log import Action
from ourvidz_worker.worker.forecast import Forecast

log = logging.getLogger(__name__)

PROGRESS_EVERY_S = 0.1
PREVIEW_EVERY_S = 0.5
PREVIEW_FILE = "preview.webp"


class AttemptGate:
    """The `Gate` of one attempt. `stop` may be called from any thread, the rest from one.

    A stopped attempt says nothing more: every method asks before it reports.
    """

    def __init__(self, run: Run, clock: Clock, send: Callable[[Report], None]) -> None:
        """`send` takes reports and never waits."""
        self._run = run
        self._clock = clock
        self._send = send
        self._reason: str | None = None
        self._started: float | None = None
        self._forecast = Forecast(0.0)
        self._told_stage: str | None = None
        self._asked_at = self._told_at = self._preview_at = float("-inf")
        self.steps_done = 0

    def open(self) -> None:
        """The attempt begins; from here on its time in work counts."""
        self._started = self._clock.monotonic()
        self._forecast = Forecast(self._started)

    def enter(self, stage: Stage[Any]) -> None:
        """A stage begins."""
        self._forecast.enter(stage.share, self._clock.monotonic())
        self._told_stage = None

    def stop(self, reason: str) -> None:
        """Let the next question raise `StopRequested`; the first reason given stays."""
        self._reason = self._reason or reason

    @property
    def reason(self) -> str | None:
        """Why the attempt was told to stop; None while it was not."""
        return self._reason

    def leave(self) -> None:
        """Raise `StopRequested` when the attempt was told to stop; the deadline is not asked."""
        if self._reason is not None:
            raise StopRequested(self._reason)

    def ask(self) -> None:
        """Raise `StopRequested` when the attempt was told to stop or is past its deadline."""
        self.leave()
        self._asked_at = self._clock.monotonic()
        if self._started is not None and self._asked_at - self._started > self._run.deadline_s:
            self.stop("deadline")
            self.leave()

    def step(self, stage: str, step: int, steps: int) -> None:
        """Count a step and ask; report at most ten times a second, but each first and last."""
        self.steps_done += 1
        self.ask()
        if self._run.quiet:
            return
        now = self._asked_at
        due = now - self._told_at >= PROGRESS_EVERY_S
        if not due and self._told_stage == stage and step < steps:
            return
        self._told_stage, self._told_at = stage, now
        self._send(
            Progress(
                attempt_id=self._run.attempt_id,
                stage=stage,
                step=step,
                steps=steps,
                fraction=self._forecast.fraction(step, steps),
                eta_s=self._forecast.eta_s(step, steps, now),
            )
        )

    def preview(self, make: Callable[[Path], None], step: int) -> None:
        """Let `make` write a picture, at most twice a second; one that fails is only logged."""
        self.ask()
        now = self._clock.monotonic()
        if now - self._preview_at < PREVIEW_EVERY_S:
            return
        self._preview_at = now
        spool = Path(self._run.spool)
        draft = spool / f"next-{PREVIEW_FILE}"
        try:
            make(draft)
            os.replace(draft, spool / PREVIEW_FILE)
        except (OSError, ThumbnailFailed):
            log.warning(
                "preview failed",
                exc_info=True,
                extra={"action": Action.PREVIEW_FAILED, "attempt_id": self._run.attempt_id},
            )
            return
        self._send(Preview(attempt_id=self._run.attempt_id, file=PREVIEW_FILE, step=step))

    def text(self, piece: str, tokens: int, choices: tuple[TokenChoice, ...] = ()) -> None:
        """Pass new text on; an empty piece without choices is only a question."""
        self.ask()
        if piece or choices:
            self._send(
                TextPiece(
                    attempt_id=self._run.attempt_id, text=piece, tokens=tokens, choices=choices
                )
            )
