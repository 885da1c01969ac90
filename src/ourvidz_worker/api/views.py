"""What callers see of jobs: views of the queue's records, in the contract's words."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from ourvidz_worker.domain import errors
from ourvidz_worker.domain.artifact import Asset, Facts, Metadata
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.job import PUBLIC_STATUS, Status
from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.queue import CancelOutcome, JobRecord

PublicStatus = Literal["queued", "processing", "completed", "failed", "cancelled"]

#: The states in which a job of that public status may be found; `public_status` decides.
FOUND_IN: dict[PublicStatus, tuple[Status, ...]] = {
    "queued": (Status.WAITING, Status.LEASED),
    "processing": (Status.LEASED,),
    "completed": (Status.COMPLETED,),
    "failed": (Status.FAILED,),
    "cancelled": (Status.CANCELLED,),
}

#: What a cancel that was taken answers; the other outcomes are errors.
CANCEL_STATUS: dict[CancelOutcome, str] = {"cancelled": "cancelled", "requested": "cancelling"}

_REASON = "error_reason"


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """A job was taken, or its cancel was."""

    job_id: str
    status: str


class AssetView(msgspec.Struct, frozen=True, kw_only=True):
    """One result. `url` is its storage key, `href` where this pod serves it; a text has neither.

    `metadata` was measured on the file.
    """

    index: int
    type: str
    url: str | msgspec.UnsetType | None = msgspec.UNSET
    thumbnail_url: str | msgspec.UnsetType | None = msgspec.UNSET
    href: str | msgspec.UnsetType | None = msgspec.UNSET
    thumbnail_href: str | msgspec.UnsetType | None = msgspec.UNSET
    text: str | msgspec.UnsetType = msgspec.UNSET
    metadata: Metadata = {}


class JobFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed, in the contract's codes; `message` may be shown to a user."""

    code: str
    message: str
    retryable: bool


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """All that a caller may know of a job; times are RFC 3339 UTC or null."""

    job_id: str
    type: str
    lane: str
    user_id: str
    status: str
    created_at: str
    started_at: str | None
    completed_at: str | None
    attempts: int
    assets: tuple[AssetView, ...]
    metadata: Facts
    error: JobFault | None


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, the newest first."""

    jobs: tuple[JobView, ...]


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A stored picture; a job of the same user may name it by `reference`."""

    reference: str


def public_status(record: JobRecord) -> str:
    """The state a caller is told: work that was taken but not begun still counts as queued."""
    if record.status is Status.LEASED and record.started_at is None:
        return PUBLIC_STATUS[Status.WAITING]
    return PUBLIC_STATUS[record.status]


def job_view(record: JobRecord) -> JobView:
    """The view of one job."""
    job = record.job
    return JobView(
        job_id=job.id,
        type=job.type,
        lane=job.lane.value,
        user_id=job.user_id,
        status=public_status(record),
        created_at=rfc3339(job.submitted_at),
        started_at=_time(record.started_at),
        completed_at=_time(record.settled_at),
        attempts=record.tries,
        assets=tuple(_asset_view(job.id, asset) for asset in record.assets),
        metadata=record.facts,
        error=_fault(record),
    )


def job_list(records: Iterable[JobRecord], status: PublicStatus | None, limit: int) -> JobList:
    """The newest `limit` of the records that have that public status, each once."""
    found = {record.job.id: record for record in records}
    wanted = [found[name] for name in found if status in {None, public_status(found[name])}]
    wanted.sort(key=lambda record: record.job.submitted_at, reverse=True)
    return JobList(jobs=tuple(job_view(record) for record in wanted[:limit]))


def asset_href(job_id: str, index: int) -> str:
    """Where this pod serves a main file."""
    return f"/v1/jobs/{job_id}/assets/{index}"


def _asset_view(job_id: str, asset: Asset) -> AssetView:
    if asset.text is not None:
        return AssetView(
            index=asset.index, type=asset.media.value, text=asset.text, metadata=asset.metadata
        )
    href = asset_href(job_id, asset.index)
    return AssetView(
        index=asset.index,
        type=asset.media.value,
        url=asset.key,
        thumbnail_url=asset.thumbnail_key,
        href=href if asset.key else None,
        thumbnail_href=f"{href}/thumbnail" if asset.thumbnail_key else None,
        metadata=asset.metadata,
    )


def _fault(record: JobRecord) -> JobFault | None:
    if record.code is None:
        return None
    told = record.facts.get("retryable")
    kind = _class_of(record.code)
    may_retry = record.facts.get(_REASON) == "REFERENCE_TIMEOUT" or kind.retryable
    return JobFault(
        code=record.code,
        message=record.sentence or (kind.__doc__ or "").strip(),
        retryable=told if isinstance(told, bool) else may_retry,
    )


def _class_of(code: str) -> type[OurvidzError]:
    """The class that a code of the contract stands for; its first in the tree."""
    classes = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    ours = [kind for kind in classes if issubclass(kind, OurvidzError)]
    return next((kind for kind in ours if kind.code == code), OurvidzError)


def _time(at: float | None) -> str | None:
    return None if at is None else rfc3339(at)
