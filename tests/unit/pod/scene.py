"""A pod without processes: the real queue, storage and delivery, and a worker that a test plays."""

import asyncio
import dataclasses
import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import msgspec
from PIL import Image
from tests.unit.pod.fake_workers import FakeWorker

from ourvidz_worker.domain.artifact import BUCKET, Artifact, Metadata
from ourvidz_worker.domain.health import Depth, HealthView
from ourvidz_worker.domain.intake import Limits, find_id
from ourvidz_worker.domain.job import Job, Lease, Status
from ourvidz_worker.domain.job_types import JOB_TYPES, Media
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import Command, Failed, Finished, Report, Run
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import VideoRequest
from ourvidz_worker.pod.administration import Administration
from ourvidz_worker.pod.breaker import Breaker
from ourvidz_worker.pod.cancellations import Cancellations
from ourvidz_worker.pod.delivery import Delivery, Ports, Teller
from ourvidz_worker.pod.hub import Hub
from ourvidz_worker.pod.keeping import Keeping
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.pod.preparation import Preparation
from ourvidz_worker.pod.recovery import Recovery
from ourvidz_worker.pod.supervisor import Supervisor
from ourvidz_worker.pod.watching import Watching
from ourvidz_worker.queue import JobRecord, QueueSettings, Settlement, Store, make_queue
from ourvidz_worker.references import References
from ourvidz_worker.rows import RowState
from ourvidz_worker.storage import StorageSettings, make_storage
from ourvidz_worker.testing.clock import FakeClock

PICTURE = b"not really a picture"


class PlainTeller:
    """Owes the bare status, and notes progress."""

    def __init__(self) -> None:
        self.fractions: list[float] = []

    def processing(self, lease: Lease) -> bytes | None:
        return b"processing"

    def progress(self, lease: Lease, fraction: float) -> None:
        self.fractions.append(fraction)

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        return None if end.status is Status.CANCELLED else end.status.value.encode()


class PlayedRows:
    """The application's rows, as a test sets them."""

    def __init__(self) -> None:
        self.states: dict[str, RowState] = {}
        self.asked: list[str] = []
        self.repaired: list[str] = []
        self.repair: str | None = "original prompt repaired"

    async def state(self, job_id: str) -> RowState:
        self.asked.append(job_id)
        return self.states.get(job_id, RowState.QUEUED)

    async def repair_prompt(self, job_id: str) -> str | None:
        self.repaired.append(job_id)
        return self.repair

    async def close(self) -> None:
        return None


class Scene:
    """One lane, one worker, one job at a time."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.queue: Store = make_queue("sqlite", QueueSettings(state_dir=folder), self.clock)
        self.storage_root = folder / "storage"
        self.storage = make_storage("local", StorageSettings(root=self.storage_root), self.clock)
        self.spool = folder / "spool"
        self.worker: FakeWorker | None = None
        self.supervisor = Supervisor(
            Lane.IMAGE, self._start, self.clock, jitter=lambda: 0.0, changed=lambda: None
        )
        self.hub = Hub(self.queue, self.clock)
        self.rows = PlayedRows()
        self.teller = PlainTeller()
        self.breaker = Breaker(self.clock)
        self.recovery = Recovery(self.breaker, max_tries=3)
        self.ports = Ports(
            queue=self.queue,
            hub=self.hub,
            keeping=Keeping(self.storage, self.clock, lambda: 0.0),
            administration=Administration(_healthy),
            preparation=Preparation(
                Limits(), References(self.storage, max_bytes=1 << 20), _leave_as_it_is
            ),
            teller=self.teller,
            cancellations=Cancellations(self.rows, self.clock),
            watching=Watching(self.hub),
            clock=self.clock,
            spool=self.spool,
            max_tries=3,
            told=lambda: None,
        )

    async def open(self) -> None:
        """Open the queue and get the worker ready."""
        await self.queue.open()
        self._serving = asyncio.create_task(self.supervisor.serve())
        await self.clock.advance(0)
        self.player.get_ready()
        await self.clock.advance(0)

    async def close(self) -> None:
        """Let everything go."""
        self._serving.cancel()
        await asyncio.gather(self._serving, return_exceptions=True)
        await self.queue.close()

    @property
    def player(self) -> FakeWorker:
        """The present worker."""
        assert self.worker is not None
        return self.worker

    async def submit(self, **fields: object) -> str:
        """Hand in one image job; `fields` change it."""
        job = {"id": "job", "type": "sdxl_image_fast", "user_id": "u", "prompt": "an apple"}
        payload = msgspec.json.encode(job | fields)
        row = JOB_TYPES["sdxl_image_fast"]
        await self.queue.submit(
            Job(
                id=find_id(payload) or "",
                type=row.name,
                user_id="u",
                lane=row.lane,
                priority=row.priority,
                payload=payload,
                submitted_at=self.clock.now(),
            )
        )
        return find_id(payload) or ""

    def prepare_with(self, **changes: object) -> None:
        """Change how jobs are prepared from now on."""
        preparation = dataclasses.replace(self.ports.preparation, **changes)  # type: ignore[arg-type]
        self.ports = dataclasses.replace(self.ports, preparation=preparation)

    def tell_with(self, teller: Teller) -> None:
        """Have another teller write the callbacks."""
        self.ports = dataclasses.replace(self.ports, teller=teller)

    async def begin(self) -> tuple[Delivery, "asyncio.Task[None]"]:
        """Lease the next job and start its delivery."""
        (lease,) = await self.queue.lease("pod", {Lane.IMAGE: 1}, 60.0)
        delivery = Delivery(lease, self.supervisor, self.ports, self.recovery)
        return delivery, asyncio.create_task(delivery.deliver())

    async def until(self, true: Callable[[], bool]) -> None:
        """Let everything run until something is true."""
        for _ in range(5_000):
            if true():
                return
            await self.work_done()
            await self.clock.advance(0)
        raise AssertionError("it never came true")

    async def work_done(self) -> None:
        """Let what the queue and the threads were given before be done."""
        await self.queue.depths()
        await asyncio.to_thread(lambda: None)

    async def given(self) -> Run:
        """The run that the worker was given, once it has it."""
        await self.until(lambda: bool(self.runs()))
        return self.runs()[-1]

    def runs(self) -> list[Run]:
        """All runs given to the present worker."""
        return [command for command in self.player.pipe.sent if isinstance(command, Run)]

    def sent(self, kind: type[Command]) -> list[Command]:
        """The commands of one kind that the worker was given."""
        return [command for command in self.player.pipe.sent if isinstance(command, kind)]

    def finish(self, run: Run, *, thumbnail: str | None = None) -> None:
        """Play the worker: write one file and report the end."""
        (Path(run.spool) / "0.png").write_bytes(PICTURE)
        artifact = Artifact(
            index=0,
            media=Media.IMAGE,
            file="0.png",
            media_type="image/png",
            thumbnail=thumbnail,
            size_bytes=len(PICTURE),
            sha256=hashlib.sha256(PICTURE).hexdigest(),
            metadata={"seed": run.seed, "width": 8},
        )
        end = Finished(attempt_id=run.attempt_id, artifacts=(artifact,), receipt=Receipt())
        self.player.pipe.reports.put_nowait(end)

    async def keep_picture(self) -> str:
        """Keep a small reference picture of the user's; its key."""
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
        return await References(self.storage, max_bytes=1 << 20).keep("u", buffer.getvalue())

    def report(self, *reports: Report) -> None:
        """Have the worker report something."""
        for report in reports:
            self.player.pipe.reports.put_nowait(report)

    def fail(
        self, run: Run, code: str, *, reason: str | None = None, retryable: bool = True
    ) -> None:
        """Have the worker fail a run."""
        failed = Failed(
            attempt_id=run.attempt_id,
            code=code,
            sentence="No.",
            retryable=retryable,
            reason=reason,
        )
        self.player.pipe.sent.clear()
        self.report(failed)

    async def record(self, job_id: str = "job") -> JobRecord:
        """The job as the queue has it."""
        found = await self.queue.find(job_id)
        assert found is not None
        return found

    async def owed(self) -> list[str]:
        """The statuses owed, first come first."""
        told = []
        while rows := await self.queue.due(10):
            told += [row.status for row in rows]
            for row in rows:
                await self.queue.delivered(row)
        return told

    def files(self) -> list[Path]:
        """Every result stored."""
        results = self.storage_root / BUCKET
        return [path for path in results.rglob("*") if path.is_file()]

    async def _start(self, lane: Lane) -> WorkerLink:
        self.worker = FakeWorker(self.clock)
        return self.worker.link


def _healthy() -> HealthView:
    return HealthView(
        status="healthy",
        ready=True,
        model_loaded=True,
        draining=False,
        uptime_s=1.0,
        queue={Lane.IMAGE: Depth(waiting=2)},
        models_loaded={},
        workers={Lane.IMAGE: {"state": "ready", "rss_bytes": 3 << 20, "running": 0}},
        stats={},
    )


async def _leave_as_it_is(request: VideoRequest, seed: int) -> tuple[VideoRequest, Metadata]:
    return request, {}
