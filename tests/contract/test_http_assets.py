"""Files of jobs, receipts, and references."""

import hashlib

import pytest

from ourvidz_worker.api.call import ApiSettings
from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.receipt import Receipt, StageTime
from ourvidz_worker.testing.desks import VERSION, FakePod, client_of

pytestmark = pytest.mark.anyio

PICTURE = b"\x89PNG a picture"
DIGEST = hashlib.sha256(PICTURE).hexdigest()
JOB = {"type": "sdxl_image_fast", "user_id": "u", "prompt": "an apple"}


async def a_pod() -> FakePod:
    """A pod with one completed job of one picture."""
    pod = FakePod()
    async with client_of(pod.app()) as client:
        await client.put("/v1/jobs/j", json=JOB)
    asset = Asset(
        index=0,
        media=Media.IMAGE,
        key="u/j/0.png",
        thumbnail_key="u/j/0.thumb.webp",
        media_type="image/png",
        sha256=DIGEST,
    )
    receipt = Receipt(job_id="j", attempt=1, stages=(StageTime(stage="denoise", seconds=1.5),))
    pod.jobs.end("j", Status.COMPLETED, assets=[asset], receipt=receipt)
    pod.jobs.files["j", 0, False] = (PICTURE, "image/png")
    pod.jobs.files["j", 0, True] = (b"small", "image/webp")
    return pod


async def test_a_file_comes_as_it_was_stored() -> None:
    pod = await a_pod()
    async with client_of(pod.app()) as client:
        view = (await client.get("/v1/jobs/j")).json()["assets"][0]
        reply = await client.get(view["href"])
        small = await client.get(view["thumbnail_href"])
    assert (reply.status_code, reply.content) == (200, PICTURE)
    assert reply.headers["content-type"] == "image/png"
    assert reply.headers["etag"] == f'"{DIGEST}"'
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert (small.content, small.headers["content-type"]) == (b"small", "image/webp")
    assert "etag" not in small.headers


@pytest.mark.parametrize("tags", [f'"{DIGEST}"', f'"other", W/"{DIGEST}"'])
async def test_a_file_that_is_known_is_not_sent_again(tags: str) -> None:
    pod = await a_pod()
    async with client_of(pod.app()) as client:
        reply = await client.get("/v1/jobs/j/assets/0", headers={"If-None-Match": tags})
        other = await client.get("/v1/jobs/j/assets/0", headers={"If-None-Match": '"x"'})
    assert (reply.status_code, reply.content) == (304, b"")
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs/j/assets/1",
        "/v1/jobs/j/assets/x",
        "/v1/jobs/j/assets/-1",
        "/v1/jobs/j/assets/%C2%B2",
        "/v1/jobs/j/assets/" + "9" * 5000,
        "/v1/jobs/j/assets/1/thumbnail",
        "/v1/jobs/k/assets/0",
        "/v1/jobs/j/preview",
        "/v1/jobs/k/preview",
        "/v1/jobs/k/receipt",
    ],
)
async def test_what_is_not_there(path: str) -> None:
    pod = await a_pod()
    async with client_of(pod.app()) as client:
        reply = await client.get(path)
    assert (reply.status_code, reply.json()["code"]) == (404, "NOT_FOUND")


async def test_the_newest_preview() -> None:
    pod = await a_pod()
    pod.jobs.previews["j"] = b"so far"
    async with client_of(pod.app()) as client:
        reply = await client.get("/v1/jobs/j/preview")
    assert (reply.content, reply.headers["content-type"]) == (b"so far", "image/webp")
    assert reply.headers["cache-control"] == "no-store"


async def test_a_receipt_once_there_is_one() -> None:
    pod = await a_pod()
    async with client_of(pod.app()) as client:
        await client.put("/v1/jobs/k", json=JOB)
        reply = await client.get("/v1/jobs/j/receipt")
        none = await client.get("/v1/jobs/k/receipt")
    told = reply.json()
    assert told["stages"] == [{"stage": "denoise", "seconds": 1.5}]
    assert told["request_id"] == reply.headers["x-request-id"]
    assert none.status_code == 404


@pytest.mark.parametrize("media_type", ["image/png", "image/jpeg", "IMAGE/WEBP; q=1"])
async def test_a_reference_is_kept(media_type: str) -> None:
    pod = FakePod()
    headers = {"content-type": media_type}
    async with client_of(pod.app()) as client:
        reply = await client.post("/v1/references?user_id=u", content=PICTURE, headers=headers)
    assert reply.status_code == 201
    assert pod.jobs.references == {reply.json()["reference"]: PICTURE}


async def test_a_reference_that_is_not_taken() -> None:
    pod = FakePod()
    settings = ApiSettings(version=VERSION, max_reference_bytes=10)
    png = {"content-type": "image/png"}
    async with client_of(pod.app(settings=settings)) as client:

        async def status(query: str, content: bytes, headers: dict[str, str]) -> tuple[int, object]:
            reply = await client.post(f"/v1/references{query}", content=content, headers=headers)
            return reply.status_code, reply.json().get("field")

        assert await status("?user_id=u", b"x" * 11, png) == (413, None)
        assert await status("?user_id=u", b"", png) == (400, None)
        assert await status("?user_id=u", b"x", {"content-type": "image/svg+xml"}) == (415, None)
        assert await status("?user_id=u", b"x", {}) == (415, None)
        assert await status("?user_id=..", b"x", png) == (400, "user_id")
        assert await status("", b"x", png) == (400, "user_id")
    assert pod.jobs.references == {}
