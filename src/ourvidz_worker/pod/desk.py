"""The desk: accepts jobs, cancels them, and tells of them."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import BUCKET
from ourvidz_worker.domain.errors import ModelLoadFailed, NotFound
from ourvidz_worker.domain.event import LAST_EVENTS, EventKind, JobEvent
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.job import TERMINAL, Job, Status
from ourvidz_worker.domain.lane import UNMANNED, Lane
from ourvidz_worker.domain.request import Request
from ourvidz_worker.pod.ending import last_event
from ourvidz_worker.pod.fallback import read_or_fall_back
from ourvidz_worker.pod.hub import Hub
from ourvidz_worker.pod.watching import Watching
from ourvidz_worker.queue import CancelOutcome, JobRecord, Queue, Settlement
from ourvidz_worker.storage import Storage
from ourvidz_worker.telemetry.log import Action
from ourvidz_worker.telemetry.redaction import user_digest

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Desk:
    """The pod's side of the native job interface; built once by wiring.

    `admit` may refuse a request; `stop` stops a job that this pod works on; `keep` checks
    a reference picture, stores it and returns its key.
    """

    queue: Queue
    storage: Storage
    hub: Hub
    watching: Watching
    clock: Clock
    lanes: frozenset[Lane]
    limits: Limits
    admit: Callable[[Request], Awaitable[None]]
    stop: Callable[[str], Awaitable[None]]
    keep: Callable[[str, bytes], Awaitable[str]]
    falls_back: bool = False
    """The pod's rule for references that cannot be used, where a job has none (F-1)."""

    async def submit(self, payload: bytes, *, job_id: str | None = None) -> tuple[JobRecord, bool]:
        """Decode, admit and store one job object; True when it is new."""
        intake = read_or_fall_back(
            payload,
            job_id=job_id or fresh_id(payload),
            limits=self.limits,
            by_default=self.falls_back,
        )
        await self.admit(intake.request)
        if intake.job_type.lane not in self.lanes | UNMANNED:
            raise ModelLoadFailed("This pod has no model for that type of job.", field="type")
        job = Job(
            id=intake.job_id,
            type=intake.job_type.name,
            user_id=intake.user_id,
            lane=intake.job_type.lane,
            priority=intake.job_type.priority,
            payload=payload,
            submitted_at=self.clock.now(),
        )
        is_new = await self.queue.submit(job) == "accepted"
        if is_new:
            log.info("job accepted", extra={"action": Action.JOB_ACCEPTED} | _public(job))
            await self.hub.milestone(job.id, EventKind.ACCEPTED, {"lane": job.lane.value})
        return await self.find(job.id), is_new

    async def find(self, job_id: str) -> JobRecord:
        """One job. Raises `NotFound`."""
        record = await self.queue.find(job_id)
        if record is None:
            raise NotFound("There is no job by that id.")
        return record

    async def recent(
        self, *, status: Status | None, user_id: str | None, limit: int
    ) -> list[JobRecord]:
        """The newest jobs first."""
        return await self.queue.recent(status=status, user_id=user_id, limit=limit)

    async def cancel(self, job_id: str) -> CancelOutcome:
        """Cancel a job: at once while it waits, at its next step while it runs."""
        outcome = await self.queue.cancel(job_id)
        if outcome == "unknown":
            raise NotFound("There is no job by that id.")
        if outcome == "requested":
            await self.stop(job_id)
        if outcome == "cancelled":
            log.info("job cancelled", extra={"action": Action.JOB_CANCELLED, "job_id": job_id})
            await self.hub.milestone(job_id, EventKind.CANCELLED)
        return outcome

    async def watch(self, job_id: str, *, after: int = 0) -> AsyncIterator[JobEvent]:
        """The job's events above `after`; ends after the last one."""
        record = await self.find(job_id)
        ended = record.status in TERMINAL
        seq, told = after, False
        async for event in self.hub.watch(job_id, after=after, ended=ended):
            seq, told = event.seq, event.kind in LAST_EVENTS
            yield event
        if ended and not told and after < seq + 1:
            yield self._last_words(record, seq + 1)

    async def asset(self, job_id: str, index: int, *, thumbnail: bool) -> tuple[bytes, str]:
        """One stored file and its media type. Raises `NotFound`."""
        record = await self.find(job_id)
        for asset in record.assets:
            key = asset.thumbnail_key if thumbnail else asset.key
            if asset.index == index and key is not None:
                media_type = "image/webp" if thumbnail else asset.media_type
                return await self.storage.get(f"{BUCKET}/{key}"), media_type or ""
        raise NotFound("That job has no such asset.")

    async def preview(self, job_id: str) -> bytes:
        """The newest preview (WEBP) of a running job. Raises `NotFound`."""
        file = self.watching.preview(job_id)
        if file is None:
            raise NotFound("That job shows no preview now.")
        return _read_file(file)

    async def keep_reference(self, user_id: str, picture: bytes) -> str:
        """Check and store a reference picture; return the key a job may name."""
        return await self.keep(user_id, picture)

    def _last_words(self, record: JobRecord, seq: int) -> JobEvent:
        """The last event of a job that ended while nobody could write its events."""
        status = record.status
        if status not in TERMINAL:
            raise AssertionError("only an ended job has last words")
        end = Settlement(
            status=Status(status),  # type: ignore[arg-type]  # narrowed just above
            assets=record.assets,
            code=record.code,
            sentence=record.sentence,
            facts=record.facts,
        )
        kind, data = last_event(end)
        at = record.settled_at or self.clock.now()
        return JobEvent(job_id=record.job.id, seq=seq, kind=kind, at=at, data=data)


def fresh_id(payload: bytes) -> str | None:
    """A random id for a job object that has none of its own; None for any other payload."""
    try:
        fields = msgspec.json.decode(payload, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return None if {"id", "job_id", "jobId"} & fields.keys() else uuid4().hex


def _read_file(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        raise NotFound("That job shows no preview now.") from None


def _public(job: Job) -> dict[str, object]:
    """What a log may hold of a job: no prompt, and the user only as a digest (O-8)."""
    return {
        "job_id": job.id,
        "job_type": job.type,
        "user": user_digest(job.user_id),
        "payload_bytes": len(job.payload),
    }
