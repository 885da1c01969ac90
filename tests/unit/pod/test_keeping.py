"""All of an attempt's files are stored, or none (U-1 to U-4)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import UploadFailed, UploadRefused
from ourvidz_worker.domain.job import Job
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.pod.keeping import Keeping
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

JOB = Job(
    id="job",
    type="sdxl_image_fast",
    user_id="u",
    lane=Lane.IMAGE,
    priority=PriorityClass.NORMAL,
    payload=b"{}",
    submitted_at=0.0,
)


class BrokenStorage:
    """Refuses a key as often as it is told to."""

    def __init__(
        self, failures: dict[str, int], kind: type[UploadFailed] = UploadFailed, deletes: int = 0
    ) -> None:
        self.failures = failures
        self.kind = kind
        self.deletes = deletes
        self.kept: set[str] = set()
        self.tried: list[str] = []

    async def put(self, key: str, file: Path, media_type: str) -> None:
        self.tried.append(key)
        if self.failures.get(key, 0) > 0:
            self.failures[key] -= 1
            raise self.kind
        self.kept.add(key)

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        return key.encode()

    async def delete(self, keys: Sequence[str]) -> None:
        if self.deletes > 0:
            self.deletes -= 1
            raise UploadFailed
        self.kept -= set(keys)

    async def check(self) -> None:
        return None

    async def close(self) -> None:
        return None


def pictures(count: int) -> list[Artifact]:
    return [
        Artifact(
            index=index,
            media=Media.IMAGE,
            file=f"{index}.png",
            media_type="image/png",
            thumbnail=f"{index}.webp",
        )
        for index in range(count)
    ]


async def test_files_and_thumbnails_go_under_the_contracts_keys() -> None:
    storage = BrokenStorage({})
    assets = await Keeping(storage, FakeClock(), lambda: 0.0).keep(JOB, pictures(2), Path())
    assert [asset.key for asset in assets] == ["u/job/0.png", "u/job/1.png"]
    assert [asset.thumbnail_key for asset in assets] == ["u/job/0.thumb.webp", "u/job/1.thumb.webp"]
    assert len(storage.kept) == 4


async def test_a_passing_fault_is_tried_again_with_the_same_file() -> None:
    storage, clock = BrokenStorage({"workspace-temp/u/job/0.png": 3}), FakeClock()
    keeping = asyncio.create_task(
        Keeping(storage, clock, lambda: 0.0).keep(JOB, pictures(1), Path())
    )
    for delay in (1.0, 2.0, 4.0):
        assert not keeping.done()
        await clock.advance(delay)
    assert len(await keeping) == 1
    assert storage.tried.count("workspace-temp/u/job/0.png") == 4


async def test_one_file_that_finally_fails_takes_the_others_back() -> None:
    storage, clock = BrokenStorage({"workspace-temp/u/job/1.png": 9}), FakeClock()
    keeping = asyncio.create_task(
        Keeping(storage, clock, lambda: 0.0).keep(JOB, pictures(3), Path())
    )
    await clock.advance(8.0)
    with pytest.raises(UploadFailed):
        await keeping
    assert storage.kept == set()


async def test_what_the_storage_refuses_is_not_sent_again() -> None:
    """U-1: another 4xx is final, and takes the other files back at once (U-4)."""
    storage = BrokenStorage({"workspace-temp/u/job/1.png": 9}, UploadRefused)
    with pytest.raises(UploadRefused):
        await Keeping(storage, FakeClock(), lambda: 0.0).keep(JOB, pictures(2), Path())
    assert storage.tried.count("workspace-temp/u/job/1.png") == 1
    assert storage.kept == set()


async def test_a_thumbnail_that_cannot_be_stored_fails_nothing() -> None:
    """U-2: the asset goes without one."""
    storage = BrokenStorage({"workspace-temp/u/job/0.thumb.webp": 9}, UploadRefused)
    (asset,) = await Keeping(storage, FakeClock(), lambda: 0.0).keep(JOB, pictures(1), Path())
    assert asset.key == "u/job/0.png"
    assert asset.thumbnail_key is None


@pytest.mark.parametrize(("failures", "left"), [(3, 0), (4, 2)])
async def test_removing_is_tried_as_often_as_storing(failures: int, left: int) -> None:
    """U-4: what stays in spite of it is no error of the job's."""
    storage, clock = BrokenStorage({}, deletes=failures), FakeClock()
    keeping = Keeping(storage, clock, lambda: 0.0)
    await keeping.keep(JOB, pictures(1), Path())
    discarding = asyncio.create_task(keeping.discard(JOB, pictures(1)))
    await clock.advance(8.0)
    await discarding
    assert len(storage.kept) == left
