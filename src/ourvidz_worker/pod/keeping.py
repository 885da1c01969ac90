"""Keeping: an attempt's files go to the storage, all of them or none (U-1 to U-4)."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import BUCKET, Artifact, Asset, asset_key, thumbnail_key
from ourvidz_worker.domain.errors import UploadFailed, UploadRefused
from ourvidz_worker.domain.job import Job
from ourvidz_worker.storage import Storage
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

THUMBNAIL_TYPE = "image/webp"
RETRIES_AFTER_S = (1.0, 2.0, 4.0)


class Keeping:
    """Stores artifacts under the contract's keys."""

    def __init__(self, storage: Storage, clock: Clock, jitter: Callable[[], float]) -> None:
        """`jitter` is 0..1."""
        self._storage = storage
        self._clock = clock
        self._jitter = jitter

    async def keep(self, job: Job, artifacts: Sequence[Artifact], spool: Path) -> tuple[Asset, ...]:
        """Store every file and thumbnail. Raises `UploadFailed` with nothing left behind."""
        try:
            return tuple([await self._keep_one(job, artifact, spool) for artifact in artifacts])
        except UploadFailed:
            await self.discard(job, artifacts)
            raise

    async def discard(self, job: Job, artifacts: Sequence[Artifact]) -> None:
        """Remove what may have been stored of these artifacts; what stays is logged, not raised."""
        keys = [
            f"{BUCKET}/{asset_key(job.user_id, job.id, artifact.index, artifact.media_type)}"
            for artifact in artifacts
            if artifact.media_type is not None
        ]
        keys += [f"{BUCKET}/{thumbnail_key(job.user_id, job.id, a.index)}" for a in artifacts]
        try:
            await self._repeated(partial(self._storage.delete, keys))
        except UploadFailed as error:
            log.warning(
                "files left behind",
                extra={"action": Action.FILES_LEFT_BEHIND, "job_id": job.id, **error.facts},
            )

    async def _keep_one(self, job: Job, artifact: Artifact, spool: Path) -> Asset:
        key = thumbnail = None
        if artifact.file is not None and artifact.media_type is not None:
            key = asset_key(job.user_id, job.id, artifact.index, artifact.media_type)
            await self._put(key, spool / artifact.file, artifact.media_type)
        if artifact.thumbnail is not None:
            thumbnail = await self._keep_thumbnail(job, artifact.index, spool / artifact.thumbnail)
        return Asset(
            index=artifact.index,
            media=artifact.media,
            key=key,
            thumbnail_key=thumbnail,
            media_type=artifact.media_type,
            text=artifact.text,
            size_bytes=artifact.size_bytes,
            sha256=artifact.sha256,
            metadata=artifact.metadata,
        )

    async def _keep_thumbnail(self, job: Job, index: int, file: Path) -> str | None:
        """The key of a stored thumbnail; None where it cannot be had, which fails no job (U-2)."""
        key = thumbnail_key(job.user_id, job.id, index)
        try:
            await self._put(key, file, THUMBNAIL_TYPE)
        except UploadFailed as error:
            log.warning(
                "thumbnail not stored",
                extra={"action": Action.THUMBNAIL_NOT_STORED, "job_id": job.id, **error.facts},
            )
            return None
        return key

    async def _put(self, key: str, file: Path, media_type: str) -> None:
        await self._repeated(partial(self._storage.put, f"{BUCKET}/{key}", file, media_type))

    async def _repeated(self, work: Callable[[], Awaitable[None]]) -> None:
        """Try as often as U-1 says; what the storage refuses is not asked of it again."""
        for delay in RETRIES_AFTER_S:
            try:
                return await work()
            except UploadRefused:
                raise
            except UploadFailed:
                await self._clock.sleep(delay * (1 + self._jitter() / 4))
        return await work()
