"""An attempt's files in the application's storage: all of them, or none (U-1 to U-4)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import UploadFailed, UploadRefused
from ourvidz_worker.domain.job import Job
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.pod.keeping import Keeping
from ourvidz_worker.storage import Storage, StorageSettings, make_storage
from ourvidz_worker.testing.supabase import CallClock, Fault, SupabaseEmulator

pytestmark = pytest.mark.anyio

JOB = Job(
    id="job",
    type="sdxl_image_fast",
    user_id="user",
    lane=Lane.IMAGE,
    priority=PriorityClass.NORMAL,
    payload=b"{}",
    submitted_at=0.0,
)
IMAGE_S = 60.0
"""The deadline of each call here (U-1)."""

ALL = {f"workspace-temp/user/job/{i}.{kind}" for i in range(3) for kind in ("png", "thumb.webp")}


@pytest.fixture
def clock() -> CallClock:
    return CallClock({IMAGE_S})


@pytest.fixture
async def storage(
    supabase: SupabaseEmulator, clock: CallClock, tmp_path: Path
) -> AsyncIterator[Storage]:
    settings = StorageSettings(root=tmp_path, url=supabase.url, key=supabase.state.keys.service)
    storage = make_storage("supabase", settings, clock)
    yield storage
    await storage.close()


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for index in range(3):
        (tmp_path / f"{index}.png").write_bytes(b"picture %d" % index)
        (tmp_path / f"{index}.webp").write_bytes(b"thumbnail %d" % index)
    return tmp_path


BATCH = [
    Artifact(
        index=index,
        media=Media.IMAGE,
        file=f"{index}.png",
        media_type="image/png",
        thumbnail=f"{index}.webp",
    )
    for index in range(3)
]


async def test_a_batch_is_stored_under_the_contracts_keys(
    supabase: SupabaseEmulator, storage: Storage, clock: CallClock, spool: Path
) -> None:
    """Section 6, U-3: every file is there when `keep` returns."""
    assets = await Keeping(storage, clock, lambda: 0.0).keep(JOB, BATCH, spool)
    assert set(supabase.state.objects) == ALL
    assert [asset.key for asset in assets] == [f"user/job/{index}.png" for index in range(3)]
    objects = supabase.state.objects
    types = {name.rpartition(".")[2]: kept.media_type for name, kept in objects.items()}
    assert types == {"png": "image/png", "webp": "image/webp"}


async def test_a_batch_of_three_with_one_refused_leaves_nothing(
    supabase: SupabaseEmulator, storage: Storage, clock: CallClock, spool: Path
) -> None:
    """U-4: the ones uploaded are deleted, with `prefixes`."""
    supabase.state.faults.add(Fault(call="storage.put", status=400, path="2.png"))
    with pytest.raises(UploadRefused):
        await Keeping(storage, clock, lambda: 0.0).keep(JOB, BATCH, spool)
    assert supabase.state.objects == {}
    assert len([call for call in _puts(supabase) if call.endswith("2.png")]) == 1


@pytest.mark.parametrize(
    "fault",
    [
        Fault(call="storage.put", status=503, path="1.png"),
        Fault(call="storage.put", status=408, path="1.png"),
        Fault(call="storage.put", status=429, path="1.png"),
        Fault(call="storage.put", how="cut", path="1.png"),
        Fault(call="storage.put", how="cut", executed=True, path="1.png"),
    ],
    ids=lambda fault: f"{fault.how}-{fault.status}-{fault.executed}",
)
@pytest.mark.parametrize("failures", [3, 4])
async def test_a_passing_fault_is_outlived_three_times(
    supabase: SupabaseEmulator,
    storage: Storage,
    clock: CallClock,
    spool: Path,
    fault: Fault,
    failures: int,
) -> None:
    """U-1: after 1, 2 and 4 s with the kept bytes; a fourth failure is final (U-4)."""
    for _ in range(failures):
        supabase.state.faults.add(fault)
    keeping = asyncio.create_task(Keeping(storage, clock, lambda: 0.0).keep(JOB, BATCH, spool))
    for delay in (1.0, 2.0, 4.0):
        await clock.settle(keeping)
        tries = len(_puts(supabase))
        await clock.advance(delay - 0.1)
        assert len(_puts(supabase)) == tries
        await clock.advance(0.1)
    if failures == 3:
        await keeping
        assert set(supabase.state.objects) == ALL
        assert supabase.state.objects["workspace-temp/user/job/1.png"].data == b"picture 1"
        return
    with pytest.raises(UploadFailed):
        await keeping
    assert supabase.state.objects == {}


def _puts(supabase: SupabaseEmulator) -> list[str]:
    return [call.path for call in supabase.state.calls_of("storage.put")]
