"""A pump with an outbox in memory and a receiver that a test plays."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec

from ourvidz_worker.callbacks import OutboxPump
from ourvidz_worker.callbacks.progress import ProgressRow
from ourvidz_worker.callbacks.verdict import Verdict
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.testing.clock import FakeClock


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A callback owed."""

    id: int
    job_id: str
    status: str
    body: bytes = b"{}"
    tries: int = 0
    created_at: float = 0.0


class MemoryOutbox:
    """An outbox in memory, with the order that the real one promises."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._rows: dict[int, Row] = {}
        self._due: dict[int, float] = {}
        self.struck: list[int] = []
        self.dead: list[tuple[int, str]] = []
        self.broken = 0

    def owe(self, job_id: str, status: str = "completed") -> None:
        number = len(self._rows) + len(self.struck) + len(self.dead) + 1
        self._rows[number] = Row(
            id=number, job_id=job_id, status=status, created_at=self._clock.now()
        )
        self._due[number] = self._clock.now()

    async def due(self, limit: int) -> list[Row]:
        self._break()
        first: dict[str, Row] = {}
        for number in sorted(self._rows):
            first.setdefault(self._rows[number].job_id, self._rows[number])
        ready = [row for row in first.values() if self._due[row.id] <= self._clock.now()]
        return ready[:limit]

    async def next_due_in(self) -> float | None:
        if not self._rows:
            return None
        return max(0.0, min(self._due.values()) - self._clock.now())

    async def delivered(self, row: Row) -> None:
        self._break()
        self.struck.append(row.id)
        self._drop(row)

    async def postpone(self, row: Row, delay_s: float, error: str) -> None:
        self._rows[row.id] = msgspec.structs.replace(row, tries=row.tries + 1)
        self._due[row.id] = self._clock.now() + delay_s

    async def give_up(self, row: Row, reason: str) -> None:
        self.dead.append((row.id, reason))
        self._drop(row)

    def _drop(self, row: Row) -> None:
        del self._rows[row.id], self._due[row.id]

    def _break(self) -> None:
        if self.broken:
            self.broken -= 1
            raise QueueUnavailable


class Receiver:
    """Answers with what a function says, and notes what came and how many were under way."""

    def __init__(self, answer: Callable[[Row | ProgressRow], Verdict | Awaitable[Verdict]]) -> None:
        self._answer = answer
        self.came: list[tuple[str, str, int]] = []
        self.under_way: dict[str, int] = {}
        self.most_at_once = 0

    async def send(self, row: object) -> Verdict:
        assert isinstance(row, Row | ProgressRow)
        self.came.append((row.job_id, row.status, row.tries))
        self.under_way[row.job_id] = self.under_way.get(row.job_id, 0) + 1
        assert self.under_way[row.job_id] == 1
        self.most_at_once = max(self.most_at_once, sum(self.under_way.values()))
        answer = self._answer(row)
        try:
            return answer if not isinstance(answer, Awaitable) else await answer
        finally:
            self.under_way[row.job_id] -= 1


class Scene:
    """A pump with its outbox, receiver and clock."""

    def __init__(self, answer: Callable[[Row | ProgressRow], Verdict | Awaitable[Verdict]]) -> None:
        self.clock = FakeClock()
        self.outbox = MemoryOutbox(self.clock)
        self.receiver = Receiver(answer)
        self.skipped: list[str] = []
        self.pump = OutboxPump(
            self.outbox, self.receiver, self.clock, lambda: 1.0, skipped=self.skipped.append
        )
        self.stop = asyncio.Event()

    def refused(self) -> bool:
        return self.pump.refused


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(scene.pump.run(scene.stop))
    await scene.clock.advance(0)
    yield task
    scene.stop.set()
    await task
