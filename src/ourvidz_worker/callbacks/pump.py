"""The outbox pump: sends what is owed, in order within each job, until it is accepted or dead."""

import asyncio
import logging
from collections.abc import Callable
from typing import Generic, Protocol

from ourvidz_worker.callbacks.outbox import Outbox, OwedCallback, Row
from ourvidz_worker.callbacks.progress import ProgressPace, ProgressRow
from ourvidz_worker.callbacks.schedule import GiveUp, Move, Postpone, next_move
from ourvidz_worker.callbacks.verdict import Delivered, Parked, Verdict
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Callbacks of different jobs under way together."""

LOOK_AGAIN_S = 1.0
"""While some are under way the outbox calls them due; others are looked for this often."""

OUTBOX_AGAIN_S = 2.0
"""An outbox that cannot be read or written is asked again after this."""


class Sender(Protocol):
    """Sends one callback once."""

    async def send(self, row: OwedCallback) -> Verdict:
        """Try once and say what it came to."""
        ...


def _no_one(_job_id: str) -> None:
    """Nobody wants to know."""


class OutboxPump(Generic[Row]):
    """Delivers an outbox. One callback of a job is under way at a time, several jobs are."""

    def __init__(
        self,
        outbox: Outbox[Row],
        sender: Sender,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        skipped: Callable[[str], None] = _no_one,
    ) -> None:
        """`jitter` is 0..1; `skipped` hears of jobs whose `processing` was of no use (K-11)."""
        self._outbox = outbox
        self._sender = sender
        self._clock = clock
        self._jitter = jitter
        self._skipped = skipped
        self._wake = asyncio.Event()
        self._under_way: dict[str, asyncio.Task[None]] = {}
        self._rowless: set[str] = set()
        self._pace = ProgressPace(clock)
        self.refused = False
        """True while our keys are refused: the pod's health is degraded."""

    def kick(self) -> None:
        """Something may be due now."""
        self._wake.set()

    def expect_no_row(self, job_id: str) -> None:
        """The receiver has no row of this job: that it finds none counts as accepted (J-2)."""
        self._rowless.add(job_id)

    def tell_progress(self, job_id: str, body: Callable[[], bytes]) -> None:
        """Send a progress callback if one is due and nothing else of the job is under way."""
        free = len(self._under_way) < AT_ONCE and job_id not in self._under_way
        if free and self._pace.is_due(job_id):
            row = ProgressRow(job_id=job_id, body=body(), created_at=self._clock.now())
            task = asyncio.create_task(self._deliver_progress(row))
            self._under_way[job_id] = task
            task.add_done_callback(lambda _: self._wake.set())

    async def run(self, stop: asyncio.Event) -> None:
        """Deliver until `stop`; then every row that is due is tried once more, and it returns."""
        try:
            while not stop.is_set():
                await self._rest(await self._round(), stop)
            await self._flush()
        finally:
            for task in self._under_way.values():
                task.cancel()
            await asyncio.gather(*self._under_way.values(), return_exceptions=True)

    async def _round(self) -> float | None:
        """Begin what can begin; return after how long to look again, None for only when kicked."""
        try:
            await self._begin(set())
            due_in = await self._outbox.next_due_in()
        except OurvidzError as error:
            self._log_outbox(error)
            return OUTBOX_AGAIN_S
        if self._under_way:
            due_in = LOOK_AGAIN_S if not due_in else min(due_in, LOOK_AGAIN_S)
        return due_in

    async def _begin(self, done: set[int]) -> None:
        """Start what is due, but for rows in `done`, which it adds to."""
        for row in await self._outbox.due(2 * AT_ONCE):
            free = len(self._under_way) < AT_ONCE
            if free and row.job_id not in self._under_way and row.id not in done:
                done.add(row.id)
                task = asyncio.create_task(self._deliver(row))
                self._under_way[row.job_id] = task
                task.add_done_callback(lambda _: self._wake.set())

    async def _rest(self, seconds: float | None, stop: asyncio.Event) -> None:
        """Wait until kicked, stopped, or `seconds` have passed; rows that ended are let go."""
        waits: list[asyncio.Task[bool | None]] = [
            asyncio.create_task(self._wake.wait()),
            asyncio.create_task(stop.wait()),
        ]
        if seconds is not None:
            waits.append(asyncio.create_task(_sleep(self._clock, seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self._wake.clear()
        self._let_go()

    def _let_go(self) -> None:
        for job_id in [job_id for job_id, task in self._under_way.items() if task.done()]:
            self._under_way.pop(job_id).result()

    async def _flush(self) -> None:
        done: set[int] = set()
        try:
            await self._begin(done)
            while self._under_way:
                await asyncio.wait(self._under_way.values(), return_when=asyncio.FIRST_COMPLETED)
                self._let_go()
                await self._begin(done)
        except OurvidzError as error:
            self._log_outbox(error)

    async def _deliver(self, row: Row) -> None:
        """Try one row and write down what became of it, however long that takes."""
        verdict = await self._sender.send(row)
        self._watch_keys(verdict, row)
        move = next_move(
            row,
            verdict,
            now=self._clock.now(),
            jitter=self._jitter(),
            is_rowless=row.job_id in self._rowless,
        )
        self._log_move(row, move)
        while True:
            try:
                await self._write(row, move)
                break
            except OurvidzError as error:
                self._log_outbox(error)
                await self._clock.sleep(OUTBOX_AGAIN_S)
        if not isinstance(move, Postpone):
            self._settled(row)
        if isinstance(verdict, Delivered) and verdict.skipped and row.status == "processing":
            self._skipped(row.job_id)

    async def _deliver_progress(self, row: ProgressRow) -> None:
        """Try once; whatever comes of it, the next one says more."""
        verdict = await self._sender.send(row)
        self._watch_keys(verdict, row)
        if isinstance(verdict, Delivered) and verdict.skipped:
            self._skipped(row.job_id)

    def _settled(self, row: Row) -> None:
        """Progress is told between `processing` and the end, and at no other time."""
        if row.status == "processing":
            self._pace.begin(row.job_id)
        else:
            self._pace.end(row.job_id)
            self._rowless.discard(row.job_id)

    async def _write(self, row: Row, move: Move) -> None:
        if isinstance(move, Postpone):
            await self._outbox.postpone(row, move.delay_s, move.error)
        elif isinstance(move, GiveUp):
            await self._outbox.give_up(row, move.reason)
        else:
            await self._outbox.delivered(row)

    def _watch_keys(self, verdict: Verdict, row: OwedCallback) -> None:
        """Remember whether our keys are refused; only a receiver that takes them clears it."""
        if isinstance(verdict, Parked):
            self.refused = True
            log.error(
                "callbacks refused",
                extra={
                    "action": Action.CALLBACKS_REFUSED,
                    "job_id": row.job_id,
                    "error": verdict.error,
                },
            )
        elif isinstance(verdict, Delivered):
            self.refused = False

    def _log_move(self, row: Row, move: Move) -> None:
        fields = {"job_id": row.job_id, "status": row.status, "tries": row.tries + 1}
        if isinstance(move, Postpone):
            fields |= {"error": move.error, "delay_s": round(move.delay_s, 3)}
            log.warning("callback postponed", extra={"action": Action.CALLBACK_POSTPONED} | fields)
        elif isinstance(move, GiveUp):
            fields |= {"reason": move.reason}
            log.error("callback dead", extra={"action": Action.CALLBACK_DEAD} | fields)
        else:
            log.info("callback delivered", extra={"action": Action.CALLBACK_DELIVERED} | fields)

    def _log_outbox(self, error: OurvidzError) -> None:
        log.error(
            "outbox unavailable",
            extra={"action": Action.QUEUE_UNAVAILABLE, "code": error.code},
        )


async def _sleep(clock: Clock, seconds: float) -> None:
    await clock.sleep(seconds)
