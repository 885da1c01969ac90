"""Results in Supabase: exact requests, exact classes of failure (contract 6)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ourvidz_worker.domain.errors import (
    ConfigError,
    NotFound,
    PayloadTooLarge,
    UploadFailed,
    UploadRefused,
)
from ourvidz_worker.storage import StorageSettings
from ourvidz_worker.storage.supabase import FRESH_FAILURE_S, FRESH_S, LOOK_S, SupabaseStorage
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.supabase import Fault, SupabaseEmulator, digest

pytestmark = pytest.mark.anyio

CONTENT = b"picture" * 100_000
KEY = "workspace-temp/user/job/0.png"
WRONG_TYPE = '{"statusCode":"415","error":"invalid_mime_type","message":"not supported"}'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "0.png"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def storage(supabase: SupabaseEmulator, clock: FakeClock) -> AsyncIterator[SupabaseStorage]:
    storage = storage_of(supabase, clock)
    yield storage
    await storage.close()


def storage_of(
    supabase: SupabaseEmulator, clock: FakeClock, *, key: str | None = None
) -> SupabaseStorage:
    secret = supabase.state.keys.service if key is None else key
    settings = StorageSettings(root=Path("unused"), url=supabase.url, key=secret)
    return SupabaseStorage(settings, clock)


@pytest.mark.parametrize("media_type", ["image/png", "image/webp", "video/mp4"])
async def test_an_upload_is_the_request_of_the_contract(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path, media_type: str
) -> None:
    """U-1 and section 6: raw bytes, exact type, upsert, both headers."""
    await storage.put(KEY, file, media_type)
    (call,) = supabase.state.calls_of("storage.put")
    service = supabase.state.keys.service
    assert (call.method, call.path) == ("POST", f"/storage/v1/object/{KEY}")
    assert call.headers["authorization"] == digest(f"Bearer {service}")
    assert call.headers["apikey"] == digest(service)
    assert call.headers["content-type"] == media_type
    assert call.headers["x-upsert"] == "true"
    assert call.headers["content-length"] == str(len(CONTENT))
    assert supabase.state.objects[KEY].data == CONTENT


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 544])
async def test_a_fault_that_may_pass_may_be_tried_again(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path, status: int
) -> None:
    """U-1: these are worth another upload, and the storage itself makes none."""
    supabase.state.faults.add(Fault(call="storage.put", status=status))
    with pytest.raises(UploadFailed) as failed:
        await storage.put(KEY, file, "image/png")
    assert not isinstance(failed.value, UploadRefused)
    await storage.put(KEY, file, "image/png")
    assert len(supabase.state.calls_of("storage.put")) == 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 409, 413, 422])
async def test_a_refusal_is_final(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path, status: int
) -> None:
    """U-1: other 4xx; a redirect is not followed either."""
    headers = {"Location": f"{supabase.url}/elsewhere"}
    supabase.state.faults.add(Fault(call="storage.put", status=status, headers=headers))
    with pytest.raises(UploadRefused):
        await storage.put(KEY, file, "image/png")
    assert len(supabase.state.calls) == 1


async def test_a_type_refusal_within_a_400_is_final(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path
) -> None:
    """U-1: 415 inside a 400, from the bucket's own rule and injected."""
    with pytest.raises(UploadRefused) as refused:
        await storage.put("workspace-temp/user/job/0.txt", file, "text/plain")
    assert refused.value.facts == {"status": 400, "true_status": 415}
    supabase.state.faults.add(Fault(call="storage.put", status=400, body=WRONG_TYPE))
    with pytest.raises(UploadRefused):
        await storage.put(KEY, file, "image/png")
    assert supabase.state.objects == {}


async def test_a_server_fault_within_a_400_may_be_tried_again(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path
) -> None:
    body = '{"statusCode":"503","error":"DatabaseTimeout"}'
    supabase.state.faults.add(Fault(call="storage.put", status=400, body=body))
    with pytest.raises(UploadFailed) as failed:
        await storage.put(KEY, file, "image/png")
    assert not isinstance(failed.value, UploadRefused)


@pytest.mark.parametrize("executed", [False, True])
async def test_a_connection_that_ends_may_be_tried_again(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path, executed: bool
) -> None:
    """U-1: also when the upload had its effect; the second replaces the first."""
    supabase.state.faults.add(Fault(call="storage.put", how="cut", executed=executed))
    with pytest.raises(UploadFailed) as failed:
        await storage.put(KEY, file, "image/png")
    assert not isinstance(failed.value, UploadRefused)
    assert (KEY in supabase.state.objects) is executed
    await storage.put(KEY, file, "image/png")
    assert supabase.state.objects[KEY].data == CONTENT


@pytest.mark.parametrize(("media_type", "patience"), [("image/png", 60.0), ("video/mp4", 180.0)])
async def test_an_upload_has_a_total_deadline(
    supabase: SupabaseEmulator,
    storage: SupabaseStorage,
    clock: FakeClock,
    file: Path,
    media_type: str,
    patience: float,
) -> None:
    """U-1: 60 s for images, 180 s for video."""
    supabase.state.faults.add(Fault(call="storage.put", how="hang"))
    putting = asyncio.create_task(storage.put(KEY, file, media_type))
    await asyncio.to_thread(supabase.state.wait_for, "storage.put")
    await clock.advance(patience - 0.5)
    assert not putting.done()
    await clock.advance(0.5)
    with pytest.raises(UploadFailed):
        await putting


async def test_a_file_that_is_gone_is_final(storage: SupabaseStorage, tmp_path: Path) -> None:
    with pytest.raises(UploadRefused):
        await storage.put(KEY, tmp_path / "none.png", "image/png")


async def test_deleting_names_the_files_in_the_body(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path
) -> None:
    """U-4: one `DELETE` a bucket, with `prefixes`."""
    await storage.put(KEY, file, "image/png")
    await storage.delete([KEY, "workspace-temp/user/job/0.thumb.webp", "user-library/user/a.png"])
    first, second = supabase.state.calls_of("storage.delete")
    assert first.path == "/storage/v1/object/workspace-temp"
    assert first.body == b'{"prefixes":["user/job/0.png","user/job/0.thumb.webp"]}'
    assert second.path == "/storage/v1/object/user-library"
    assert supabase.state.objects == {}


async def test_a_delete_that_fails_says_so(
    supabase: SupabaseEmulator, storage: SupabaseStorage
) -> None:
    supabase.state.faults.add(Fault(call="storage.delete", status=503))
    with pytest.raises(UploadFailed):
        await storage.delete([KEY])
    supabase.state.faults.add(Fault(call="storage.delete", status=403))
    with pytest.raises(UploadRefused):
        await storage.delete([KEY])
    await storage.delete([])
    assert len(supabase.state.calls) == 2


async def test_names_are_quoted(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path
) -> None:
    key = "user-library/user/holiday 100% #1 ?ü.png"
    await storage.put(key, file, "image/png")
    assert await storage.get(key) == CONTENT
    assert list(supabase.state.objects) == [key]


async def test_reading_stops_at_the_limit(
    supabase: SupabaseEmulator, storage: SupabaseStorage, file: Path
) -> None:
    await storage.put(KEY, file, "image/png")
    with pytest.raises(PayloadTooLarge):
        await storage.get(KEY, max_bytes=1000)
    assert len(await storage.get(KEY, max_bytes=700_000)) == 700_000
    assert len(supabase.state.calls_of("storage.get")) == 2


async def test_reading_tells_absent_from_unavailable(
    supabase: SupabaseEmulator, storage: SupabaseStorage, clock: FakeClock
) -> None:
    with pytest.raises(NotFound):
        await storage.get(KEY)
    supabase.state.faults.add(Fault(call="storage.get", status=500))
    with pytest.raises(UploadFailed):
        await storage.get(KEY)
    stranger = storage_of(supabase, clock, key="another key")
    with pytest.raises(UploadRefused):
        await stranger.get(KEY)
    await stranger.close()


async def test_the_bucket_is_looked_at_now_and_then(
    supabase: SupabaseEmulator, storage: SupabaseStorage, clock: FakeClock
) -> None:
    """The health snapshot asks each second; the storage is asked twice a minute."""
    for _ in range(20):
        await storage.check()
        clock.jump(1.0)
    assert len(supabase.state.calls_of("storage.bucket")) == 1
    supabase.state.faults.add(Fault(call="storage.bucket", status=503))
    clock.jump(FRESH_S)
    for _ in range(2):
        with pytest.raises(UploadFailed):
            await storage.check()
    assert len(supabase.state.calls_of("storage.bucket")) == 2
    clock.jump(FRESH_FAILURE_S)
    await storage.check()


async def test_a_silent_storage_does_not_hold_up_the_health_snapshot(
    supabase: SupabaseEmulator, storage: SupabaseStorage, clock: FakeClock
) -> None:
    """H-10: a look ends before the snapshot is two seconds old."""
    supabase.state.faults.add(Fault(call="storage.bucket", how="hang"))
    checking = asyncio.create_task(storage.check())
    await asyncio.to_thread(supabase.state.wait_for, "storage.bucket")
    await clock.advance(LOOK_S)
    with pytest.raises(UploadFailed):
        await checking


@pytest.mark.parametrize(
    "url",
    ["", "ftp://host", "https://", "https://user:pass@host", "https://host/?a=b", "http://\0"],
)
async def test_a_wrong_url_is_the_operators_fault(url: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        SupabaseStorage(StorageSettings(root=Path("x"), url=url, key="secret"), FakeClock())
    assert "secret" not in str(wrong.value)
    assert "pass" not in str(wrong.value)


async def test_no_error_and_no_log_shows_the_key(
    supabase: SupabaseEmulator,
    storage: SupabaseStorage,
    file: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """H-4: neither key nor address."""
    supabase.state.faults.add(Fault(call="storage.put", how="cut"))
    supabase.state.faults.add(Fault(call="storage.bucket", status=401))
    with pytest.raises(UploadFailed) as put:
        await storage.put(KEY, file, "image/png")
    with pytest.raises(UploadFailed) as check:
        await storage.check()
    told = f"{put.value} {put.value.facts} {check.value} {check.value.facts} {caplog.text}"
    assert supabase.state.keys.service not in told
    assert "localhost" not in told
