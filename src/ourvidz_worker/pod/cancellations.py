"""Cancellations: what the application's own rows say of the jobs that this pod holds (K-20).

A user cancels by setting the row; nothing else tells us. One coroutine asks for all jobs held,
far from any device. A row that nobody can read never stops a job.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.job_types import Family, find_job_type
from ourvidz_worker.rows import Rows, RowState

LOOK_EVERY_S = 5.0
"""How often the rows of the jobs held are looked at (K-20)."""

ROWLESS = frozenset({Family.CHAT, Family.ADMIN})
"""The application has no rows of these families' jobs (J-2)."""


class Held(Protocol):
    """A job that this pod holds."""

    @property
    def job(self) -> Job:
        """The job."""
        ...

    async def stop(self, reason: str) -> None:
        """Stop it: `cancelled`."""
        ...


class Cancellations:
    """Asks for the rows of jobs, before they begin and while they are worked on."""

    def __init__(self, rows: Rows | None, clock: Clock) -> None:
        """Without `rows` there is no application whose users could cancel."""
        self._rows = rows
        self._clock = clock
        self._wake = asyncio.Event()

    def look(self, _job_id: str) -> None:
        """The application had no use for a callback: look at once (K-11)."""
        self._wake.set()

    async def ended_before(self, job: Job) -> Status | None:
        """How a job had ended before it began here; None when it is to be worked."""
        if self._rows is None or _family_of(job) is Family.ADMIN:
            return None
        state = await self._rows.state(job.id)
        if state is RowState.COMPLETED:
            return Status.COMPLETED
        if state is RowState.FAILED:
            return Status.FAILED
        return Status.CANCELLED if _is_cancelled(job, state) else None

    async def watch(self, held: Callable[[], Collection[Held]]) -> None:
        """Stop the jobs held that were cancelled, until this is cancelled itself."""
        while True:
            await self._pause()
            if self._rows is not None:
                jobs = {one.job.id: one for one in held()}
                await asyncio.gather(*(self.stop_if_cancelled(one) for one in jobs.values()))

    async def stop_if_cancelled(self, one: Held) -> None:
        """Look at one job's row now, and stop the job if its user has cancelled it."""
        if self._rows is None or _family_of(one.job) is Family.ADMIN:
            return
        if _is_cancelled(one.job, await self._rows.state(one.job.id)):
            await one.stop("cancelled")

    async def repair_prompt(self, job_id: str) -> tuple[str, ...]:
        """Have the row of a job with an empty prompt repaired; the warnings to record (K-13)."""
        warning = await self._rows.repair_prompt(job_id) if self._rows is not None else None
        return () if warning is None else (warning,)

    async def _pause(self) -> None:
        waits = [
            asyncio.create_task(self._wake.wait()),
            asyncio.create_task(_sleep(self._clock, LOOK_EVERY_S)),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        self._wake.clear()


def _is_cancelled(job: Job, state: RowState) -> bool:
    if state is RowState.MISSING:
        return _family_of(job) not in ROWLESS
    return state is RowState.CANCELLED


def _family_of(job: Job) -> Family | None:
    row = find_job_type(job.type)
    return None if row is None else row.family


async def _sleep(clock: Clock, seconds: float) -> bool:
    await clock.sleep(seconds)
    return True
