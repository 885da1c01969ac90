"""A simulated card of 48 GiB and three workers without processes, on a clock that stands still."""

import asyncio
from collections.abc import Mapping

from tests.unit.pod.fake_workers import FakeWorker

from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.lane import START_ORDER, Lane
from ourvidz_worker.domain.memory import GIB
from ourvidz_worker.domain.messages import Drain, Finished, Run
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import ChatRequest, Sampling
from ourvidz_worker.pod.crew import Crew
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.pod.memory import Memory
from ourvidz_worker.pod.memory_broker import MemoryBroker
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.residency.budgets import BUDGETS
from ourvidz_worker.residency.ledger import Ledger
from ourvidz_worker.residency.meter import Meter, NoMeter
from ourvidz_worker.residency.simulated import SimulatedMeter
from ourvidz_worker.testing.clock import FakeClock

LOAD_S = 10.0
"""How long every fake worker takes to load."""

FRACTIONS = {Lane.IMAGE: 0.21, Lane.CHAT: 0.31, Lane.VIDEO: 0.63}


class Desk:
    """The card, its workers and the memory over them; `depths` is the queue."""

    def __init__(self, total_gib: int | None = 48) -> None:
        self.clock = FakeClock()
        self.depths: dict[Lane, Depth] = {}
        self.foreign_bytes = 0
        self.broken: set[Lane] = set()
        """Lanes whose loads fail."""
        self.started: list[Lane] = []
        self.fakes: dict[Lane, FakeWorker] = {}
        """The newest incarnation of each lane."""
        self.incarnations: list[tuple[Lane, FakeWorker]] = []
        self.workers = {
            lane: Supervisor(
                lane, self._start, self.clock, jitter=lambda: 0.0, changed=lambda: None
            )
            for lane in START_ORDER
        }
        meter: Meter = NoMeter()
        if total_gib is not None:
            meter = SimulatedMeter(total_gib * GIB, self._used)
        self.ledger = Ledger(BUDGETS)
        self.broker = MemoryBroker(
            self.workers, self.ledger, meter, self.clock, depths=lambda: self.depths
        )
        self.memory = Memory(self.broker, FRACTIONS)
        self.crew = Crew(self.workers, 300.0, may_start=self.memory.may_start)
        self.tasks: list[asyncio.Task[None]] = []

    def begin(self, *, loops: bool = True) -> None:
        """Start the workers, and the memory's loops."""
        self.tasks.append(asyncio.create_task(self.crew.run()))
        if loops:
            self.tasks.append(asyncio.create_task(self.memory.run()))

    async def close(self) -> None:
        """End everything."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def pass_time(self, seconds: float) -> None:
        """Let time pass second by second; drained workers leave, started ones get ready."""
        for _ in range(round(seconds)):
            await self.clock.advance(1.0)
            for fake in self.fakes.values():
                if any(isinstance(command, Drain) for command in fake.pipe.sent):
                    fake.process.kill()
            await self.clock.advance(0.0)

    def wait_in(self, lane: Lane, waiting: int = 1, leased: int = 0) -> None:
        """The queue has that many jobs of a lane."""
        self.depths[lane] = Depth(waiting=waiting, leased=leased)

    def alive(self, lane: Lane) -> int:
        """How many processes of a lane live."""
        return sum(
            not fake.process.ended.done() for whose, fake in self.incarnations if whose is lane
        )

    def up(self) -> set[Lane]:
        """Who can serve now."""
        return {lane for lane, worker in self.workers.items() if worker.state is WorkerState.READY}

    async def work(self, lane: Lane) -> "asyncio.Task[object]":
        """An attempt that runs until `finish`."""
        request = ChatRequest(job_type="chat_conversation", sampling=Sampling(), text="a")
        run = Run(
            attempt_id=lane.value,
            job_id=lane.value,
            request=request,
            seed=1,
            spool="/nowhere",
            deadline_s=9_000.0,
        )
        running: asyncio.Task[object] = asyncio.create_task(
            self.workers[lane].run(run, lambda report: None)
        )
        await self.clock.advance(0)
        return running

    async def finish(self, lane: Lane, *, peak_gib: int = 0) -> None:
        """The attempt of a lane ends well."""
        receipt = Receipt(peak_bytes=peak_gib * GIB)
        end = Finished(attempt_id=lane.value, artifacts=(), receipt=receipt)
        self.fakes[lane].pipe.reports.put_nowait(end)
        await self.clock.advance(0)

    def events(self) -> list[tuple[str, str | None, str, str | None]]:
        """What the report tells of the moves: event, worker, reason, for whom."""
        told = self.memory.memory_report().events
        return [(one.event, one.worker, one.reason, one.made_for) for one in told]

    def _used(self) -> int:
        """Workers that hold memory count for their need; somebody else's memory counts too."""
        held: Mapping[Lane, Supervisor] = {
            lane: worker
            for lane, worker in self.workers.items()
            if worker.state in {WorkerState.READY, WorkerState.DRAINING}
        }
        ours = sum(worker.peak_bytes or BUDGETS[lane] for lane, worker in held.items())
        return ours + self.foreign_bytes

    async def _start(self, lane: Lane) -> WorkerLink:
        self.started.append(lane)
        fake = self.fakes[lane] = FakeWorker(self.clock)
        self.incarnations.append((lane, fake))
        self.tasks.append(asyncio.create_task(self._load(lane, fake)))
        return fake.link

    async def _load(self, lane: Lane, fake: FakeWorker) -> None:
        await self.clock.sleep(LOAD_S)
        if lane in self.broken:
            fake.process.kill()
        else:
            fake.get_ready()
