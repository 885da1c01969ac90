"""Preparation: from a leased job to what its worker is given, while it waits for the device."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.job import Lease
from ourvidz_worker.domain.job_types import (
    LONG_VIDEO_DEADLINE_S,
    LONG_VIDEO_FRAMES,
    JobType,
)
from ourvidz_worker.domain.request import ImageRequest, Request, VideoRequest

Enhance = Callable[[VideoRequest, int], Awaitable[tuple[VideoRequest, Metadata]]]
"""Extends a prompt (W-3): the request to execute and what the callback says of it."""


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


class Preparation:
    """Reads the job, fetches its references and has its prompt extended where its type says so."""

    def __init__(self, limits: Limits, references: References, enhance: Enhance) -> None:
        """`enhance` uses the chat lane."""
        self._limits = limits
        self._references = references
        self._enhance = enhance

    async def prepare(self, lease: Lease, spool: Path) -> Prepared:
        """Prepare one lease in its new spool directory. Raises `RequestError` classes."""
        await asyncio.to_thread(spool.mkdir, parents=True)
        intake = read_job(lease.job.payload, job_id=lease.job.id, limits=self._limits)
        request = intake.request
        facts: Metadata = {}
        if isinstance(request, VideoRequest) and intake.job_type.extends_prompt:
            request, facts = await self._enhance(request, lease.seed)
        return Prepared(
            request=request,
            seed=lease.seed if seed_of(request) is None else seed_of(request) or 0,
            deadline_s=deadline_of(intake.job_type, request),
            references=await self._fetch(request, lease.job.user_id, spool),
            facts=facts,
        )

    async def _fetch(self, request: Request, user_id: str, spool: Path) -> dict[str, str]:
        files = {}
        for role, reference in references_of(request).items():
            file = spool / f"input-{role}"
            await self._references.fetch(reference, user_id, file)
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
    return request.seed if isinstance(request, ImageRequest | VideoRequest) else None


def deadline_of(job_type: JobType, request: Request) -> float:
    """Time in work, seconds (contract 3.7)."""
    if isinstance(request, VideoRequest) and request.frames > LONG_VIDEO_FRAMES:
        return LONG_VIDEO_DEADLINE_S
    return job_type.deadline_s
