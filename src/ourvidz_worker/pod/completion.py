"""Completion: what a finished attempt and its stored files come to, in the contract's words."""

from collections.abc import Sequence

import msgspec

from ourvidz_worker.callbacks import Done
from ourvidz_worker.callbacks.metadata import metadata_of
from ourvidz_worker.domain.artifact import Artifact, Asset, Facts
from ourvidz_worker.domain.errors import ThumbnailFailed
from ourvidz_worker.domain.job import Lease, Status
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.messages import Finished
from ourvidz_worker.domain.request import ImageRequest, Request, VideoRequest
from ourvidz_worker.pod.preparation import Prepared
from ourvidz_worker.pod.recovery import OUT_OF_MEMORY, Past
from ourvidz_worker.queue import Settlement

LOAD = "load"
"""The stage in which an attempt waited for its model."""


def completion(
    lease: Lease,
    finished: Finished,
    prepared: Prepared,
    assets: tuple[Asset, ...],
    *,
    past: Past,
    times: Facts,
    warnings: Sequence[str] = (),
) -> Settlement:
    """The settlement of a job whose every asset is stored; `times` are the pod's own figures."""
    receipt = finished.receipt
    beside = (*receipt.warnings, *past.warnings, *warnings, *_missing(finished, assets))
    receipt = msgspec.structs.replace(
        receipt, attempt=lease.tries, warnings=tuple(dict.fromkeys(beside))
    )
    loaded = sum((stage.seconds for stage in receipt.stages if stage.stage == LOAD), 0.0)
    own: Facts = {"attempts": lease.tries, "load_time": round(loaded, 3), **times}
    if OUT_OF_MEMORY in past.codes:
        own["oom_retry"] = True
    done = Done(
        job_id=lease.job.id,
        request=prepared.request,
        assets=assets,
        receipt=receipt,
        facts={**prepared.facts, **finished.facts, **own},
        seed=prepared.seed,
    )
    return Settlement(
        status=Status.COMPLETED, assets=assets, receipt=receipt, facts=metadata_of(done)
    )


def possible_artifacts(request: Request) -> tuple[Artifact, ...]:
    """What an attempt at `request` may have stored, by index and type."""
    if isinstance(request, ImageRequest):
        return tuple(_artifact(index, Media.IMAGE) for index in range(request.count))
    if isinstance(request, VideoRequest):
        return (_artifact(0, Media.IMAGE if request.frames == 1 else Media.VIDEO),)
    return ()


def _missing(finished: Finished, assets: tuple[Asset, ...]) -> tuple[str, ...]:
    """A thumbnail that was made and could not be stored is told, and fails no job (U-2)."""
    made = {one.index for one in finished.artifacts if one.thumbnail is not None}
    kept = {one.index for one in assets if one.thumbnail_key is not None}
    return tuple(f"{ThumbnailFailed.code}: thumbnail {index}" for index in sorted(made - kept))


def _artifact(index: int, media: Media) -> Artifact:
    media_type = "image/png" if media is Media.IMAGE else "video/mp4"
    return Artifact(index=index, media=media, media_type=media_type)
