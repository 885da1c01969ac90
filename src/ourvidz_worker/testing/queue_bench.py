"""A workbench for checks of a queue: a store on a folder, a clock, and short words for both."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from msgspec.structs import replace

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import LeaseLost
from ourvidz_worker.domain.job import Job, Lease, Status, Token
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue import CallbackRow, DeadLetter, JobRecord, Settlement, Store
from ourvidz_worker.testing.clock import FakeClock

Make = Callable[[Path, Clock], Store]
"""Builds a store of three tries on a state folder; called again on the same folder to reopen."""

DONE = Settlement(status=Status.COMPLETED)
TTL_S = 60.0


class Bench:
    """One store, opened and closed as a pod would; `async with` it."""

    def __init__(self, make: Make, folder: Path) -> None:
        """Build a store on `folder` with a clock that stands still."""
        self.clock = FakeClock()
        self.store = make(folder, self.clock)
        self._make = make
        self._folder = folder

    async def __aenter__(self) -> "Bench":
        await self.store.open()
        return self

    async def __aexit__(self, *raised: object) -> None:
        await self.store.close()

    async def reopen(self) -> None:
        """The pod ends, and another one begins on the same folder."""
        await self.store.close()
        self.store = self._make(self._folder, self.clock)
        await self.store.open()

    def job(
        self,
        job_id: str,
        *,
        user: str = "ann",
        lane: Lane = Lane.IMAGE,
        priority: PriorityClass = PriorityClass.NORMAL,
        payload: bytes | None = None,
    ) -> Job:
        """A job with that id; its payload names it."""
        return Job(
            id=job_id,
            type="sdxl_image_fast",
            user_id=user,
            lane=lane,
            priority=priority,
            payload=b'{"id":"%s"}' % job_id.encode() if payload is None else payload,
            submitted_at=self.clock.now(),
        )

    async def submit(self, *jobs: Job) -> None:
        """Accept jobs one after the other."""
        for job in jobs:
            assert await self.store.submit(job) == "accepted"

    async def lease(self, count: int = 1, lane: Lane = Lane.IMAGE) -> list[Lease]:
        """Lease at most `count` jobs of a lane."""
        return await self.store.lease("pod", {lane: count}, TTL_S)

    async def held(self, job_id: str) -> Lease:
        """A new job, leased; nothing else may wait in its lane."""
        await self.submit(self.job(job_id))
        (lease,) = await self.lease()
        return lease

    async def find(self, job_id: str) -> JobRecord:
        """A job that must be there."""
        record = await self.store.find(job_id)
        assert record is not None, f"{job_id} is gone"
        return record

    async def due(self) -> list[CallbackRow]:
        """What must be sent now."""
        return await self.store.due(100)

    async def state(self) -> object:
        """All that a store tells of itself, to be compared before and after."""
        store = self.store
        return await asyncio.gather(
            store.depths(), store.recent(limit=1000), store.owed(), self.due(), store.dead(1000)
        )


def ids(leases: Iterable[Lease]) -> list[str]:
    """The job ids of leases, in order."""
    return [lease.job.id for lease in leases]


async def is_lost(work: Awaitable[None]) -> bool:
    """True when the store says that the token is out of date."""
    try:
        await work
    except LeaseLost:
        return True
    return False


def unnamed(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Dead letters without the names that their store gave them."""
    return [replace(letter, id="") for letter in letters]


def stale(token: Token) -> Token:
    """The token before this one."""
    return Token(token.job_id, token.fence - 1)
