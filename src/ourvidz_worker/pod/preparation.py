"""Preparation: from a leased job to what its worker is given, while it waits for the device."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import msgspec

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import BadReference, InvalidPrompt, PayloadTooLarge, RequestError
from ourvidz_worker.domain.intake import Intake, Limits, is_job_object, read_job
from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.job_types import (
    LONG_VIDEO_DEADLINE_S,
    LONG_VIDEO_FRAMES,
    JobType,
)
from ourvidz_worker.domain.messages import Failed
from ourvidz_worker.domain.request import ChatRequest, ImageRequest, Request, VideoRequest
from ourvidz_worker.pod.ending import failure_of
from ourvidz_worker.pod.fallback import allows, facts_of, is_reason

Enhance = Callable[[VideoRequest, int], Awaitable[tuple[VideoRequest, Metadata]]]
"""Extends a prompt (W-3): the request to execute and what the callback says of it."""

Admit = Callable[[Request], Awaitable[None]]


class References(Protocol):
    """Fetches and checks reference pictures."""

    async def fetch(self, reference: str, user_id: str, file: Path) -> None:
        """Write the checked bytes of `reference` to `file`. Raises `BadReference`."""
        ...


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker is given. `references` maps a role to a checked picture file."""

    request: Request
    seed: int
    deadline_s: float
    references: dict[str, str]
    facts: Metadata
    fell_back: bool = False
    """True when the job's reference was dropped: that happens once (F-2)."""


async def admit_all(_request: Request) -> None:
    """Refuses nothing."""


@dataclass(frozen=True)
class Preparation:
    """Reads the job, has it admitted, fetches its references, and has its prompt extended.

    `enhance` uses the chat lane; `falls_back` is the pod's rule where a job has none (F-1);
    `deadlines` maps a job type to the operator's own deadline, seconds.
    """

    limits: Limits
    references: References
    enhance: Enhance
    admit: Admit = admit_all
    falls_back: bool = False
    deadlines: Mapping[str, float] = field(default_factory=dict)

    async def prepare(self, lease: Lease, spool: Path) -> Prepared:
        """Prepare one lease in its new spool directory. Raises `RequestError` classes."""
        await asyncio.to_thread(spool.mkdir, parents=True, exist_ok=True)
        try:
            intake = self._read(lease)
            await self.admit(intake.request)
            files = await self._fetch(intake.request, lease.job.user_id, spool)
            return await self._prepared(lease, intake, files)
        except BadReference as error:
            failed = failure_of(error, attempt_id="", stage="reference")
            bare = await self.without_reference(lease, failed)
            if bare is None:
                raise
            return bare

    async def without_reference(
        self, lease: Lease, failed: Failed, before: Prepared | None = None
    ) -> Prepared | None:
        """The job without its reference, where `failed` and the job allow that (4.4); or None.

        `before` is what had been prepared with the reference: a prompt is extended only once.
        """
        if not is_reason(failed) or (before is not None and before.fell_back):
            return None
        try:
            intake = self._read(lease, with_references=False)
        except InvalidPrompt:
            return None  # an empty prompt means something only beside a picture
        if not allows(intake.request, by_default=self.falls_back):
            return None
        await self.admit(intake.request)
        said = facts_of(failed, intake.asked_mode)
        return await self._prepared(lease, intake, {}, said=said, before=before)

    def can_read(self, lease: Lease) -> bool:
        """True when the job is a JSON object at all, whatever is wrong with its fields."""
        return is_job_object(lease.job.payload)

    def _read(self, lease: Lease, *, with_references: bool = True) -> Intake:
        try:
            return read_job(
                lease.job.payload,
                job_id=lease.job.id,
                limits=self.limits,
                with_references=with_references,
            )
        except PayloadTooLarge as error:  # a word of HTTP, which a queue's callers do not know
            raise RequestError("The job is larger than this pod takes.") from error

    async def _prepared(
        self,
        lease: Lease,
        intake: Intake,
        files: dict[str, str],
        *,
        said: Metadata | None = None,
        before: Prepared | None = None,
    ) -> Prepared:
        request = intake.request
        seed = seed_of(request)
        seed = lease.seed if seed is None else seed
        facts: Metadata = {}
        if isinstance(request, VideoRequest) and intake.job_type.extends_prompt:
            request, facts = await self._extended(request, seed, before)
        return Prepared(
            request=request,
            seed=seed,
            deadline_s=deadline_of(intake.job_type, request, self.deadlines) - _taken(facts),
            references=files,
            facts=facts | (said or {}),
            fell_back=said is not None,
        )

    async def _extended(
        self, request: VideoRequest, seed: int, before: Prepared | None
    ) -> tuple[VideoRequest, Metadata]:
        if before is None or not isinstance(before.request, VideoRequest):
            return await self.enhance(request, seed)
        earlier = before.request
        extended = msgspec.structs.replace(
            request, prompt=earlier.prompt, extended_from=earlier.extended_from
        )
        return extended, before.facts

    async def _fetch(self, request: Request, user_id: str, spool: Path) -> dict[str, str]:
        files = {}
        for role, reference in references_of(request).items():
            file = spool / f"input-{role}"
            await self.references.fetch(reference, user_id, file)
            files[role] = str(file)
        return files


def references_of(request: Request) -> dict[str, str]:
    """Role to where the caller says the picture lies; only those the mode uses."""
    if isinstance(request, ImageRequest):
        return {"reference": request.reference} if request.reference else {}
    if isinstance(request, VideoRequest):
        used = {
            "start": {"first": request.first},
            "end": {"last": request.last},
            "both": {"first": request.first, "last": request.last},
            "single": {"image": request.image},
        }.get(request.mode, {})
        return {role: reference for role, reference in used.items() if reference}
    return {}


def seed_of(request: Request) -> int | None:
    """The seed the caller chose; 0 is a seed."""
    match request:
        case ImageRequest() | VideoRequest():
            return request.seed
        case ChatRequest():
            return request.sampling.seed
        case _:
            return None


def deadline_of(
    job_type: JobType, request: Request, configured: Mapping[str, float] | None = None
) -> float:
    """Time in work, seconds (contract 3.7); the operator's own figure holds for every length."""
    if configured and job_type.name in configured:
        return configured[job_type.name]
    if isinstance(request, VideoRequest) and request.frames > LONG_VIDEO_FRAMES:
        return LONG_VIDEO_DEADLINE_S
    return job_type.deadline_s


def _taken(facts: Metadata) -> float:
    """The part of the deadline that extending the prompt took, seconds."""
    return float(facts.get("enhancement_time") or 0.0)
