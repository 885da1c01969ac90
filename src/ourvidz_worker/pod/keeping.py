"""Keeping: an attempt's files go to the storage, all of them or none (U-1 to U-4)."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import BUCKET, Artifact, Asset, asset_key, thumbnail_key
from ourvidz_worker.domain.errors import NotFound, UploadFailed
from ourvidz_worker.domain.job import Job
from ourvidz_worker.storage import Storage

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
        """Remove what may have been stored of these artifacts."""
        keys = [
            f"{BUCKET}/{asset_key(job.user_id, job.id, artifact.index, artifact.media_type)}"
            for artifact in artifacts
            if artifact.media_type is not None
        ]
        keys += [f"{BUCKET}/{thumbnail_key(job.user_id, job.id, a.index)}" for a in artifacts]
        await self._storage.delete(keys)

    async def _keep_one(self, job: Job, artifact: Artifact, spool: Path) -> Asset:
        key = thumbnail = None
        if artifact.file is not None and artifact.media_type is not None:
            key = asset_key(job.user_id, job.id, artifact.index, artifact.media_type)
            await self._put(key, spool / artifact.file, artifact.media_type)
        if artifact.thumbnail is not None:
            thumbnail = thumbnail_key(job.user_id, job.id, artifact.index)
            await self._put(thumbnail, spool / artifact.thumbnail, "image/webp")
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

    async def _put(self, key: str, file: Path, media_type: str) -> None:
        for delay in (*RETRIES_AFTER_S, None):
            try:
                return await self._storage.put(f"{BUCKET}/{key}", file, media_type)
            except NotFound as error:
                raise UploadFailed(cause="the produced file is gone") from error
            except UploadFailed:
                if delay is None:
                    raise
                await self._clock.sleep(delay * (1 + self._jitter() / 4))
        return None
