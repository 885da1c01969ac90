"""A pod whose worker is a real engine on a thread; queue, delivery, storage and bodies are real."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.unit.pod.fake_workers import FakePipe, FakeProcess, FakeWorker
from tests.unit.pod.scene import PlainTeller, Scene

from ourvidz_worker.callbacks import Teller
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.job import Job, Lease, Status
from ourvidz_worker.domain.job_types import find_job_type
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import Cancel, Command, Computed, Outcome, Progress, Report, Run
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.engines import Engine
from ourvidz_worker.pod.delivery import Delivery
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.queue import Settlement
from ourvidz_worker.references import References
from ourvidz_worker.references.references import FetchUrl
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.worker.attempt import Ports, advance, run_attempt
from ourvidz_worker.worker.gate import AttemptGate

WORKER_ID = "worker-1"
MAX_REFERENCE_BYTES = 50 << 20


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the application was told of one job, and what lies in its storage."""

    statuses: list[str]
    end: dict[str, Any]
    """The body of the last callback."""
    receipt: Receipt
    root: Path

    @property
    def metadata(self) -> dict[str, Any]:
        """The job's metadata."""
        found: dict[str, Any] = self.end["metadata"]
        return found

    @property
    def asset(self) -> dict[str, Any]:
        """The metadata of the one asset."""
        (only,) = self.end["assets"]
        found: dict[str, Any] = only["metadata"]
        return found

    def file(self, index: int = 0, part: str = "url") -> Path:
        """Where the file that an asset names lies."""
        return self.root / "workspace-temp" / str(self.end["assets"][index][part])

    def data(self, index: int = 0) -> bytes:
        """The bytes of a main file."""
        return self.file(index).read_bytes()


class BodyTeller(PlainTeller):
    """Owes the real bodies."""

    def __init__(self, teller: Teller) -> None:
        super().__init__()
        self._teller = teller

    def processing(self, lease: Lease) -> bytes | None:
        return self._teller.processing(lease)

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        return self._teller.ended(lease, end)


class EnginePipe(FakePipe):
    """Obeys commands as a worker does, with an engine on a thread."""

    def __init__(self, engine: Engine[Any], clock: Clock) -> None:
        super().__init__()
        self.told: list[Report] = []
        self.ended: list[Outcome] = []
        self._engine = engine
        self._clock = clock
        self._gates: dict[str, AttemptGate] = {}
        self._works: set[asyncio.Task[None]] = set()

    async def send(self, command: Command) -> None:
        await super().send(command)
        if isinstance(command, Run):
            gate = AttemptGate(command, self._clock, self.told.append)
            self._gates[command.attempt_id] = gate
            self._works.add(asyncio.create_task(self._work(command, gate)))
        elif isinstance(command, Cancel) and command.attempt_id in self._gates:
            self._gates[command.attempt_id].stop(command.reason)

    async def _work(self, run: Run, gate: AttemptGate) -> None:
        before = len(self.told)
        outcome = await asyncio.to_thread(self._compute, run, gate)
        self.ended.append(outcome)
        for report in (*self.told[before:], outcome):
            self.reports.put_nowait(report)

    def _compute(self, run: Run, gate: AttemptGate) -> Outcome:
        ports = Ports(engine=self._engine, gate=gate, clock=self._clock, peak_rss=lambda: 1 << 20)
        attempt = run_attempt(run, ports)
        outcome = advance(attempt)
        while isinstance(outcome, Computed):
            outcome = advance(attempt)
        return outcome


class EngineWorker(FakeWorker):
    """One incarnation around an engine that is loaded."""

    def __init__(self, engine: Engine[Any], clock: Clock, work_clock: Clock) -> None:
        self.process = FakeProcess()
        self.pipe: EnginePipe = EnginePipe(engine, work_clock)
        self.link = WorkerLink(self.process, self.pipe, clock)
        self._engine = engine

    def get_ready(self, capacity: int = 0) -> None:
        super().get_ready(capacity or self._engine.describe().capacity)


class EnginePod(Scene):
    """Takes the application's job objects and tells what the application would see of them."""

    def __init__(
        self,
        folder: Path,
        engine: Engine[Any],
        *,
        urls: FetchUrl | None = None,
        falls_back: bool = False,
    ) -> None:
        super().__init__(folder)
        self._engine = engine
        self.work_clock = FakeClock()
        """What the attempts go by; an engine's thread may move it."""
        self._bodies: dict[str, list[dict[str, Any]]] = {}
        self._taking = asyncio.Lock()
        self.references = References(self.storage, max_bytes=MAX_REFERENCE_BYTES, urls=urls)
        preparation = replace(
            self.ports.preparation, references=self.references, falls_back=falls_back
        )
        teller = BodyTeller(Teller(WORKER_ID, Limits(), self.clock))
        self.ports = replace(self.ports, preparation=preparation, teller=teller)

    @property
    def pipe(self) -> EnginePipe:
        """The present worker's pipe."""
        assert isinstance(self.player.pipe, EnginePipe)
        return self.player.pipe

    def steps(self, stage: str = "denoise") -> list[int]:
        """The last step told of each attempt's `stage`, in order of the attempts."""
        last: dict[str, int] = {}
        for report in self.pipe.told:
            if isinstance(report, Progress) and report.stage == stage:
                last[report.attempt_id] = report.step
        return list(last.values())

    async def run(self, job: Mapping[str, object]) -> Told:
        """Hand in one job, work it to its end, and collect every callback owed."""
        payload = json.dumps(job).encode()
        await self.queue.submit(self._job(job, payload))
        (lease,) = await self.queue.lease("pod", dict.fromkeys(Lane, 1), 60.0)
        await Delivery(lease, self.supervisor, self.ports, self.recovery).deliver()
        async with self._taking:
            await self._take_bodies()
        bodies = self._bodies[str(job["id"])]
        record = await self.record(str(job["id"]))
        return Told(
            statuses=[body["status"] for body in bodies],
            end=bodies[-1],
            receipt=record.receipt or Receipt(),
            root=self.storage_root,
        )

    async def completed(self, job: Mapping[str, object]) -> Told:
        """The same for a job that must end well."""
        told = await self.run(job)
        assert told.statuses == ["processing", Status.COMPLETED], told.end
        return told

    async def _take_bodies(self) -> None:
        while rows := await self.queue.due(10):
            for row in rows:
                self._bodies.setdefault(row.job_id, []).append(json.loads(row.body))
                await self.queue.delivered(row)

    def _job(self, job: Mapping[str, object], payload: bytes) -> Job:
        row = find_job_type(str(job["type"]))
        assert row is not None
        return Job(
            id=str(job["id"]),
            type=row.name,
            user_id=str(job["user_id"]),
            lane=row.lane,
            priority=row.priority,
            payload=payload,
            submitted_at=self.clock.now(),
        )

    async def _start(self, lane: Lane) -> WorkerLink:
        self.worker = EngineWorker(self._engine, self.clock, self.work_clock)
        return self.worker.link


@asynccontextmanager
async def engine_pod(
    folder: Path,
    engine: Engine[Any],
    *,
    urls: FetchUrl | None = None,
    falls_back: bool = False,
) -> AsyncIterator[EnginePod]:
    """An open pod."""
    pod = EnginePod(folder, engine, urls=urls, falls_back=falls_back)
    await pod.open()
    try:
        yield pod
    finally:
        await pod.close()
