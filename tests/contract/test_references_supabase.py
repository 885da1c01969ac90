"""References that lie in the application's storage: signed, expired, another user's (4.2, 4.3)."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.references import Patience, References
from ourvidz_worker.references.fetch import UrlFetcher
from ourvidz_worker.storage import StorageSettings, make_storage
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.postgres import PostgresServer
from ourvidz_worker.testing.supabase import Application, Fault, SupabaseEmulator, digest

pytestmark = pytest.mark.anyio

OWNER = "user-1"
MAX_BYTES = 10_000


def picture(side: int = 8) -> bytes:
    file = BytesIO()
    Image.new("RGB", (side, side), "red").save(file, "PNG")
    return file.getvalue()


PICTURE = picture()


@dataclass(frozen=True)
class Ground:
    """A pod's references beside the application that they come from."""

    supabase: SupabaseEmulator
    application: Application
    clock: FakeClock
    references: References
    file: Path

    async def fetch(self, reference: str, user_id: str = OWNER) -> bytes:
        await self.references.fetch(reference, user_id, self.file)
        return await asyncio.to_thread(self.file.read_bytes)

    async def reason(self, reference: str, user_id: str = OWNER) -> str:
        with pytest.raises(BadReference) as caught:
            await self.references.fetch(reference, user_id, self.file)
        return caught.value.reason

    def names(self) -> list[str]:
        return [call.name for call in self.supabase.state.calls if call.method == "GET"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def supabase(postgres: PostgresServer, clock: FakeClock) -> Iterator[SupabaseEmulator]:
    with SupabaseEmulator(postgres.database(), clock=clock) as emulator:
        yield emulator


@pytest.fixture(params=[True], ids=["owner"])
async def ground(
    supabase: SupabaseEmulator, clock: FakeClock, tmp_path: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Ground]:
    settings = StorageSettings(root=tmp_path, url=supabase.url, key=supabase.state.keys.service)
    storage = make_storage("supabase", settings, clock)
    urls = UrlFetcher(clock, max_bytes=MAX_BYTES, jitter=lambda: 0.0, home=supabase.url)
    references = References(
        storage,
        max_bytes=MAX_BYTES,
        urls=urls,
        require_owner=bool(request.param),
        patience=Patience(clock, lambda: 0.0),
    )
    application = Application.of(supabase, lambda _queue, _element: None)
    yield Ground(supabase, application, clock, references, tmp_path / "input")
    application.close()
    await urls.close()
    await storage.close()


async def test_a_signed_url_is_fetched_without_any_key(ground: Ground) -> None:
    """R-1: http, localhost and a port, because SUPABASE_URL says so."""
    url = ground.application.reference(OWNER, PICTURE)
    assert await ground.fetch(url) == PICTURE
    call = ground.supabase.state.calls[-1]
    assert call.name == "storage.signed"
    assert "authorization" not in call.headers
    assert "apikey" not in call.headers


async def test_a_signed_url_that_has_expired_is_read_with_the_service_key(ground: Ground) -> None:
    """R-3: an hour has passed since the job was pushed."""
    url = ground.application.reference(OWNER, PICTURE)
    ground.clock.jump(3601)
    assert await ground.fetch(url) == PICTURE
    assert ground.names() == ["storage.signed", "storage.get"]
    call = ground.supabase.state.calls[-1]
    service = ground.supabase.state.keys.service
    assert call.headers["authorization"] == digest(f"Bearer {service}")
    assert call.path.startswith(f"/storage/v1/object/user-library/{OWNER}/")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 410, 422, 429])
async def test_every_4xx_of_a_signed_url_takes_the_other_way(ground: Ground, status: int) -> None:
    """R-3: any 4xx."""
    url = ground.application.reference(OWNER, PICTURE)
    ground.supabase.state.faults.add(Fault(call="storage.signed", status=status))
    assert await ground.fetch(url) == PICTURE


async def test_a_signed_url_whose_object_is_gone(ground: Ground) -> None:
    """4.3."""
    url = ground.application.reference(OWNER, PICTURE)
    ground.supabase.state.objects.clear()
    assert await ground.reason(url) == "REFERENCE_NOT_FOUND"


async def test_another_users_expired_url_is_not_opened_by_our_key(ground: Ground) -> None:
    """R-4: the service key opens only what is the job's own user's."""
    url = ground.application.reference("user-2", PICTURE)
    assert await ground.fetch(url) == PICTURE
    ground.clock.jump(3601)
    assert await ground.reason(url) == "REFERENCE_FORBIDDEN"
    assert "storage.get" not in ground.names()


@pytest.mark.parametrize("bucket", ["avatars", "system_assets"])
async def test_public_buckets_have_no_owner(ground: Ground, bucket: str) -> None:
    """R-4."""
    name = f"{bucket}/somebody.png"
    ground.application.upload(name, PICTURE, "image/png")
    url = ground.application.sign(name)
    ground.clock.jump(3601)
    assert await ground.fetch(url) == PICTURE
    public = f"{ground.supabase.url}/storage/v1/object/public/{name}"
    assert await ground.fetch(public) == PICTURE


@pytest.mark.parametrize("ground", [False], indirect=True, ids=["nobody asks"])
async def test_the_owner_is_not_asked_when_the_operator_says_so(ground: Ground) -> None:
    """R-4: REFERENCE_REQUIRE_OWNER."""
    url = ground.application.reference("user-2", PICTURE)
    ground.clock.jump(3601)
    assert await ground.fetch(url) == PICTURE
    ground.application.upload("user-library/user-2/b.png", PICTURE, "image/png")
    assert await ground.fetch("user-library/user-2/b.png") == PICTURE


@pytest.mark.parametrize(
    "path",
    [
        "user-library/user-1/../user-2/a.png",
        "user-library/user-1/%2e%2e/user-2/a.png",
        "user-library//user-1/a.png",
        "user-library/user-1/a%00.png",
        "user-library/user-1/a%0a.png",
        "user-library",
    ],
)
async def test_a_twisted_path_never_meets_the_service_key(ground: Ground, path: str) -> None:
    """R-4: decoded once, then refused."""
    url = f"{ground.supabase.url}/storage/v1/object/sign/{path}?token=old"
    ground.supabase.state.faults.add(Fault(call="storage.signed", status=400))
    assert await ground.reason(url) in {"REFERENCE_URL_BLOCKED", "REFERENCE_NOT_FOUND"}
    assert all("authorization" not in call.headers for call in ground.supabase.state.calls)


@pytest.mark.parametrize("bucket", ["user-library", "workspace-temp", "reference_images"])
async def test_a_bare_key_is_read_from_the_storage(ground: Ground, bucket: str) -> None:
    """R-1: the client sends the bare path when signing failed."""
    name = f"{bucket}/{OWNER}/folder/my picture.png"
    ground.application.upload(name, PICTURE, "image/png")
    assert await ground.fetch(name) == PICTURE
    assert await ground.fetch(name.replace(" ", "%20")) == PICTURE
    assert await ground.reason(name, "user-2") == "REFERENCE_FORBIDDEN"


async def test_a_bare_key_of_nothing(ground: Ground) -> None:
    """4.3."""
    assert await ground.reason(f"user-library/{OWNER}/none.png") == "REFERENCE_NOT_FOUND"


@pytest.mark.parametrize("form", ["bare", "signed", "expired"])
async def test_the_byte_cap_holds_on_every_way(ground: Ground, form: str) -> None:
    """R-2: counted while it streams."""
    name = f"user-library/{OWNER}/big.png"
    ground.application.upload(name, PICTURE + b"x" * MAX_BYTES, "image/png")
    url = ground.application.sign(name)
    if form == "expired":
        ground.clock.jump(3601)
    assert await ground.reason(name if form == "bare" else url) == "REFERENCE_TOO_LARGE"


async def test_what_is_no_picture_is_refused(ground: Ground) -> None:
    """R-2: by its content, whatever its type says."""
    url = ground.application.reference(OWNER, b"<html>not a picture</html>")
    assert await ground.reason(url) == "REFERENCE_NOT_AN_IMAGE"


@pytest.mark.parametrize("call", ["storage.get", "storage.signed"])
@pytest.mark.parametrize("failures", [2, 3])
async def test_a_storage_that_is_away_is_asked_three_times(
    ground: Ground, call: str, failures: int, caplog: pytest.LogCaptureFixture
) -> None:
    """R-2: 3 tries on 5xx, then a time-out that may be tried again."""
    name = f"user-library/{OWNER}/a.png"
    ground.application.upload(name, PICTURE, "image/png")
    reference = name if call == "storage.get" else ground.application.sign(name)
    ground.supabase.state.faults.add(Fault(call=call, status=503, times=failures))
    fetching = asyncio.create_task(ground.references.fetch(reference, OWNER, ground.file))
    for number in (1, 2):
        while caplog.messages.count("reference try failed") < number:
            await ground.clock.sleep(0)
        await ground.clock.advance(2.0)
    if failures == 2:
        await fetching
        assert len(ground.supabase.state.calls_of(call)) == 3
        return
    with pytest.raises(BadReference) as caught:
        await fetching
    assert caught.value.reason == "REFERENCE_TIMEOUT"
    assert caught.value.may_retry


@pytest.mark.parametrize("call", ["storage.get", "storage.signed"])
async def test_a_silent_storage_is_given_up(ground: Ground, call: str) -> None:
    """R-2: 30 s in all."""
    name = f"user-library/{OWNER}/a.png"
    ground.application.upload(name, PICTURE, "image/png")
    reference = name if call == "storage.get" else ground.application.sign(name)
    ground.supabase.state.faults.add(Fault(call=call, how="hang"))
    fetching = asyncio.create_task(ground.references.fetch(reference, OWNER, ground.file))
    await asyncio.to_thread(ground.supabase.state.wait_for, call)
    await ground.clock.advance(30.0)
    with pytest.raises(BadReference) as caught:
        await fetching
    assert caught.value.reason == "REFERENCE_TIMEOUT"


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/storage/v1/object/sign/user-library/user-1/a.png?token=t",
        "http://127.0.0.1:{port}/storage/v1/object/sign/user-library/user-1/a.png?token=t",
        "http://[::1]:{port}/storage/v1/object/sign/user-library/user-1/a.png?token=t",
        "http://user@localhost:{port}/a.png",
        "http://example.org/a.png",
        "https://example.org/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
    ],
)
async def test_nothing_else_is_fetched(ground: Ground, url: str) -> None:
    """R-1."""
    port = ground.supabase.url.rpartition(":")[2]
    assert await ground.reason(url.replace("{port}", port)) == "REFERENCE_URL_BLOCKED"
    assert ground.supabase.state.calls == []


async def test_a_redirect_is_not_followed(ground: Ground) -> None:
    """R-1."""
    url = ground.application.reference(OWNER, PICTURE)
    headers = {"Location": url}
    fault = Fault(call="storage.signed", status=302, headers=headers)
    ground.supabase.state.faults.add(fault)
    assert await ground.reason(url) == "REFERENCE_URL_BLOCKED"
