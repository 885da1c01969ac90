"""A pod in memory: the ports of the HTTP interface, for tests of it and of its clients.

Nothing runs by itself: a test says when a job starts, moves and ends.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import httpx
import msgspec
from msgspec.structs import replace

from ourvidz_worker.api.app import make_app
from ourvidz_worker.api.auth import AuthMode, Keys
from ourvidz_worker.api.border import Border
from ourvidz_worker.api.call import ApiSettings, Side
from ourvidz_worker.api.ports import Desks
from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.errors import Conflict, NotFound, OurvidzError, RequestError
from ourvidz_worker.domain.event import LAST_EVENTS, EventKind, JobEvent
from ourvidz_worker.domain.health import Depth, HealthView
from ourvidz_worker.domain.job import TERMINAL, Job, Status
from ourvidz_worker.domain.job_types import find_job_type
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import (
    MemoryReport,
    MemoryStatus,
    MemoryTable,
    OperationReply,
    Order,
    VramUsage,
)
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue import CancelOutcome, JobRecord
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.dead_desk import FakeDead
from ourvidz_worker.testing.fake_texts import FakeTexts

KEYS = ("first-key", "second-key")
"""The keys that a `FakePod` accepts."""

VERSION = "1.2.3"


class FakeJobs:
    """A `JobDesk` whose jobs end as the test says."""

    def __init__(self, clock: FakeClock) -> None:
        """Begin without jobs."""
        self.records: dict[str, JobRecord] = {}
        self.files: dict[tuple[str, int, bool], tuple[bytes, str]] = {}
        self.previews: dict[str, bytes] = {}
        self.references: dict[str, bytes] = {}
        self.watching = 0
        self._clock = clock
        self._events: dict[str, list[JobEvent]] = {}
        self._told = asyncio.Event()

    async def submit(self, payload: bytes, *, job_id: str | None = None) -> tuple[JobRecord, bool]:
        """Take a job object; only id, type and user are looked at."""
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
        name = _text(fields, "id") or job_id
        job_type = find_job_type(_text(fields, "type") or "")
        user_id = _text(fields, "user_id")
        if name is None or job_id not in {None, name}:
            raise RequestError("The field id is missing or another one.", field="id")
        if job_type is None or user_id is None:
            raise RequestError("The job has a fault.", field="user_id" if job_type else "type")
        found = self.records.get(name)
        if found is not None and found.job.payload != payload:
            raise Conflict
        if found is not None:
            return found, False
        job = Job(
            id=name,
            type=job_type.name,
            user_id=user_id,
            lane=job_type.lane,
            priority=job_type.priority,
            payload=payload,
            submitted_at=self._clock.now(),
        )
        self.records[name] = JobRecord(job=job, status=Status.WAITING)
        self.tell(name, EventKind.ACCEPTED)
        return self.records[name], True

    async def find(self, job_id: str) -> JobRecord:
        """One job. Raises `NotFound`."""
        if job_id not in self.records:
            raise NotFound
        return self.records[job_id]

    async def recent(
        self, *, status: Status | None, user_id: str | None, limit: int
    ) -> list[JobRecord]:
        """The newest jobs first."""
        found = [
            record
            for record in reversed(self.records.values())
            if status in {None, record.status} and user_id in {None, record.job.user_id}
        ]
        return found[:limit]

    async def cancel(self, job_id: str) -> CancelOutcome:
        """End a waiting job; mark a leased one."""
        record = await self.find(job_id)
        if record.status in TERMINAL:
            return "terminal"
        if record.status is Status.LEASED:
            self.records[job_id] = replace(record, cancel_requested=True)
            return "requested"
        self.end(job_id, Status.CANCELLED)
        return "cancelled"

    async def watch(self, job_id: str, *, after: int = 0) -> AsyncIterator[JobEvent]:
        """The job's events above `after`, then those to come, up to the last."""
        self.watching += 1
        kind: EventKind | None = None
        try:
            while kind not in LAST_EVENTS and not self._is_told(job_id, after):
                event = await self._event(job_id, after)
                after, kind = event.seq, event.kind
                yield event
        finally:
            self.watching -= 1

    def _is_told(self, job_id: str, after: int) -> bool:
        """True when a watcher who has seen `after` has seen the end."""
        is_over = self.records[job_id].status in TERMINAL
        return is_over and len(self._events[job_id]) <= after

    async def _event(self, job_id: str, after: int) -> JobEvent:
        while len(self._events[job_id]) <= after:
            self._told.clear()
            await self._told.wait()
        return self._events[job_id][after]

    async def asset(self, job_id: str, index: int, *, thumbnail: bool) -> tuple[bytes, str]:
        """A file the test has put into `files`. Raises `NotFound`."""
        if (job_id, index, thumbnail) not in self.files:
            raise NotFound
        return self.files[job_id, index, thumbnail]

    async def preview(self, job_id: str) -> bytes:
        """A picture the test has put into `previews`. Raises `NotFound`."""
        if job_id not in self.previews:
            raise NotFound
        return self.previews[job_id]

    async def keep_reference(self, user_id: str, picture: bytes) -> str:
        """Keep the picture in `references`."""
        key = f"reference_images/{user_id}/{len(self.references)}.png"
        self.references[key] = picture
        return key

    def tell(self, job_id: str, kind: EventKind, **data: str | float | bool | None) -> None:
        """Add an event to a job."""
        events = self._events.setdefault(job_id, [])
        seq = len(events) + 1
        now = self._clock.now()
        events.append(JobEvent(job_id=job_id, seq=seq, kind=kind, at=now, data=data))
        self._told.set()

    def lease(self, job_id: str) -> None:
        """A pod has taken the job; it works on it from `start` on."""
        record = self.records[job_id]
        self.records[job_id] = replace(record, status=Status.LEASED, tries=record.tries + 1)

    def start(self, job_id: str) -> None:
        """The work begins."""
        self.lease(job_id)
        self.records[job_id] = replace(self.records[job_id], started_at=self._clock.now())
        self.tell(job_id, EventKind.STARTED)

    def end(
        self,
        job_id: str,
        status: Status,
        *,
        assets: Sequence[Asset] = (),
        receipt: Receipt | None = None,
        error: OurvidzError | None = None,
    ) -> None:
        """The job ends; a completed one has assets, a failed one its error."""
        self.records[job_id] = replace(
            self.records[job_id],
            status=status,
            settled_at=self._clock.now(),
            assets=tuple(assets),
            receipt=receipt,
            code=error.code if error else None,
            sentence=error.sentence if error else None,
        )
        self.tell(job_id, EventKind(status.value))


class FakeMemory:
    """A `MemoryDesk` that notes what it is told to do; `error` is raised instead."""

    def __init__(self) -> None:
        """Begin with a card."""
        self.error: OurvidzError | None = None
        self.loads: list[tuple[tuple[Lane, ...], bool]] = []
        self.unloads: list[tuple[tuple[Lane, ...], bool]] = []
        self.orders: list[Order] = []

    def memory_status(self, side: Literal["wan", "chat"]) -> MemoryStatus:
        """A card of 48 GiB, as that side shows it."""
        self._raise()
        return MemoryStatus(
            total_vram=48.0,
            allocated_vram=25.0,
            available_vram=21.0,
            model_loaded=True,
            instruct_loaded=True,
            base_loaded=False,
            sdxl_loaded=True,
            wan_loaded=False,
            memory_fraction={"wan": 0.21, "chat": 0.31}[side],
            worker_type=side,
            vram_usage=VramUsage(total=49_152, used=25_600, free=23_552, pressure="low"),
            workers={"sdxl_worker": "loaded", "chat_worker": "loaded", "wan_worker": "unloaded"},
            memory_allocation={"sdxl": "10 GiB", "chat": "15 GiB", "wan": "30 GiB"},
        )

    def memory_report(self) -> MemoryReport:
        """A report of nothing."""
        return MemoryReport(
            pressure_level="low",
            available_vram=21_504,
            worker_status={},
            recommendations=(),
            predictions={},
            events=(),
        )

    async def load(self, lanes: Sequence[Lane], *, force: bool = False) -> tuple[Lane, ...]:
        """All are up at once."""
        self._raise()
        self.loads.append((tuple(lanes), force))
        return tuple(lanes)

    async def unload(self, lanes: Sequence[Lane], *, force: bool = False) -> None:
        """All are away at once."""
        self._raise()
        self.unloads.append((tuple(lanes), force))

    async def operate(self, order: Order) -> OperationReply:
        """Nothing changes."""
        self._raise()
        self.orders.append(order)
        table = MemoryTable(available_gb=21.0, pressure="low", workers={"sdxl": "loaded"})
        return OperationReply(
            operation=order.operation.value,
            action_taken="none",
            freed_gb=0.0,
            before=table,
            after=table,
            pressure="low",
        )

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error


class FakeView:
    """A `PodView` that shows what the test has put into `view`."""

    def __init__(self) -> None:
        """Begin healthy and ready."""
        self.view = HealthView(
            status="healthy",
            ready=True,
            model_loaded=True,
            draining=False,
            uptime_s=12.5,
            queue={Lane.IMAGE: Depth(waiting=2, leased=1), Lane.CHAT: Depth()},
            models_loaded={"sdxl_loaded": True, "active_model_type": None},
            workers={
                Lane.IMAGE: {"model": "pocket-sdxl", "device": "cpu"},
                Lane.CHAT: {"model": "pocket-chat"},
            },
            stats=dict(Counter(requests_served=3, jobs_completed=2)),
            at=1_700_000_000.0,
        )
        self.sides: list[str] = []

    def health(self, side: Literal["wan", "chat"]) -> HealthView:
        """The view, whatever the side; the side is noted."""
        self.sides.append(side)
        return self.view

    def limits(self) -> dict[str, int | float]:
        """One limit."""
        return {"max_output_tokens": 4096}


@dataclass(kw_only=True)
class FakePod:
    """The five ports and a clock, and applications over them."""

    clock: FakeClock = field(default_factory=FakeClock)
    texts: FakeTexts = field(default_factory=FakeTexts)
    memory: FakeMemory = field(default_factory=FakeMemory)
    dead: FakeDead = field(default_factory=FakeDead)
    view: FakeView = field(default_factory=FakeView)
    jobs: FakeJobs = field(init=False)

    def __post_init__(self) -> None:
        """The jobs keep the same time."""
        self.jobs = FakeJobs(self.clock)

    def app(
        self, *, side: Side = "wan", mode: AuthMode = "compat", settings: ApiSettings | None = None
    ) -> Border:
        """The application of one port, over these fakes."""
        return make_app(
            side=side,
            desks=Desks(
                jobs=self.jobs,
                texts=self.texts,
                memory=self.memory,
                dead=self.dead,
                pod=self.view,
            ),
            keys=Keys.of(*KEYS),
            clock=self.clock,
            settings=settings or ApiSettings(version=VERSION, auth_mode=mode),
        )


def client_of(
    app: Border, *, key: str | None = KEYS[0], address: str = "127.0.0.1"
) -> httpx.AsyncClient:
    """A client that calls `app` without a network, from `address`; `key` None shows none."""
    transport = httpx.ASGITransport(app=app, client=(address, 40_000))
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    return httpx.AsyncClient(transport=transport, base_url="http://pod", headers=headers)


def _text(fields: dict[str, msgspec.Raw], name: str) -> str | None:
    try:
        return msgspec.json.decode(fields.get(name, b"null"), type=str | None)
    except msgspec.DecodeError:
        raise RequestError(f"The field {name} must be a string.", field=name) from None
