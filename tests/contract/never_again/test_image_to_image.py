"""Image-to-image: copies, small changes, and references that cannot be had (lines 14 to 18)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.contract.never_again.engine_pod import EnginePod, Told, engine_pod
from tests.contract.never_again.jobs import USER, clip_job, picture_job
from tests.unit.references.test_reference_fetch import Server, reply, running

from ourvidz_worker.engines import Engine
from ourvidz_worker.references.fetch import UrlFetcher
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

Photo = Callable[..., bytes]
PICTURE_OF = f"reference_images/{USER}/none.png"
BAD_REQUEST = reply(400, b'{"statusCode":"400","error":"InvalidJWT"}')
SIGNED = f"/storage/v1/object/sign/user-library/{USER}/a.png?token=old"
GONE = reply(404, b"{}")
PAGE = reply(200, b"<html>sign in</html>")


@pytest.fixture
async def pod(tmp_path: Path, sdxl: Engine[Any]) -> AsyncIterator[EnginePod]:
    async with engine_pod(tmp_path, sdxl) as opened:
        yield opened


async def guided(
    pod: EnginePod, photo: Photo, *, metadata: dict[str, Any], **config: object
) -> Told:
    """A job with a reference picture of the user's own, worked to its good end."""
    key = await pod.references.keep(USER, photo())
    said = {"reference_image_url": key, **metadata}
    told = await pod.completed(picture_job(metadata=said, config=config, seed=5))
    with Image.open(told.file()) as picture:
        assert (picture.format, picture.size) == ("PNG", (256, 256))
    return told


@pytest.mark.parametrize("how", [{"exact_copy_mode": True}, {"reference_mode": "copy"}])
async def test_14_a_copy_of_15_steps_has_at_least_one_step(
    pod: EnginePod, photo: Photo, how: dict[str, Any]
) -> None:
    """I-1: 15 steps x 0.05 are 0.75 of a step; one is run, and it is told how."""
    told = await guided(
        pod, photo, metadata=how, num_inference_steps=15, denoise_strength=0.05, guidance_scale=1
    )
    assert pod.steps() == [1]
    said = told.metadata
    assert (said["requested_steps"], said["steps"], said["effective_steps"]) == (15, 20, 1)
    assert (said["exact_copy_mode"], said["reference_mode"]) == (True, "copy")
    asset = told.asset
    assert (asset["steps"], asset["num_inference_steps"], asset["effective_steps"]) == (20, 20, 1)
    assert (asset["pipeline"], asset["denoise_strength"]) == ("img2img", 0.05)
    assert told.metadata["guidance_scale"] == asset["guidance_scale"] == 1.0


async def test_15_what_the_copy_button_sends_is_a_copy(pod: EnginePod, photo: Photo) -> None:
    """4.1: mode `modify`, denoise 0.05 and cfg 1 with some text make the picture a copy makes."""
    config = {"num_inference_steps": 25, "denoise_strength": 0.05, "guidance_scale": 1.0}
    button = await guided(
        pod, photo, metadata={"reference_mode": "modify", "exact_copy_mode": False}, **config
    )
    said = button.metadata
    assert (said["exact_copy_mode"], said["reference_mode"]) == (True, "copy")
    assert said["copy_detected_by"] == "parameters"
    assert (said["steps"], said["effective_steps"], said["guidance_scale"]) == (25, 1, 1.0)
    flagged = await guided(pod, photo, metadata={"exact_copy_mode": True}, **config)
    assert flagged.metadata["copy_detected_by"] == "flag"
    assert flagged.data() == button.data()
    above = await guided(
        pod, photo, metadata={"reference_mode": "modify"}, **(config | {"denoise_strength": 0.06})
    )
    assert (above.metadata["exact_copy_mode"], above.metadata["reference_mode"]) == (
        False,
        "modify",
    )
    assert above.data() != button.data()


async def test_16_a_small_change_runs_with_its_own_parameters(pod: EnginePod, photo: Photo) -> None:
    """I-1: 15 x 0.06 is under one step; nothing but the step floor is altered."""
    told = await guided(
        pod,
        photo,
        metadata={"reference_mode": "modify"},
        num_inference_steps=15,
        denoise_strength=0.06,
        guidance_scale=7.5,
        negative_prompt="blurry",
    )
    assert pod.steps() == [1]
    said, asset = told.metadata, told.asset
    assert (said["requested_steps"], said["steps"], said["effective_steps"]) == (15, 17, 1)
    assert (said["exact_copy_mode"], said["reference_mode"]) == (False, "modify")
    assert said["denoise_strength"] == asset["denoise_strength"] == 0.06
    assert said["guidance_scale"] == asset["guidance_scale"] == 7.5
    assert asset["negative_prompt_used"] is True
    assert [line for line in said["warnings"] if not line.startswith("steps:")] == []


async def test_17_a_denoise_strength_alone_stays_text_to_image(pod: EnginePod) -> None:
    """3.3: it is present in plain jobs too, and changes nothing of them."""
    leftovers = {"reference_mode": "modify", "reference_strength": None}
    plain = await pod.completed(picture_job(seed=5))
    with_it = await pod.completed(
        picture_job(seed=5, config={"denoise_strength": 0.2}, metadata=leftovers)
    )
    assert with_it.asset["pipeline"] == "txt2img"
    assert with_it.metadata["reference_mode"] == "none"
    for said in (with_it.asset, with_it.metadata):
        assert not {"denoise_strength", "resize_policy"} & set(said)
    assert with_it.asset["effective_steps"] == 2
    assert with_it.data() == plain.data()


@asynccontextmanager
async def fetching(server: Server, path: str) -> AsyncIterator[tuple[str, UrlFetcher]]:
    """A URL on the operator's own storage behind HTTP, and the guarded way to it."""
    async with running(server) as home:
        fetcher = UrlFetcher(FakeClock(), max_bytes=1 << 20, jitter=lambda: 0.0, home=home)
        try:
            yield f"{home}{path}", fetcher
        finally:
            await fetcher.close()


@pytest.mark.parametrize(
    ("answer", "path", "reason"),
    [
        (BAD_REQUEST, "/elsewhere/a.png?token=old", "REFERENCE_EXPIRED"),
        (BAD_REQUEST, SIGNED, "REFERENCE_NOT_FOUND"),
        (GONE, SIGNED, "REFERENCE_NOT_FOUND"),
        (PAGE, SIGNED, "REFERENCE_NOT_AN_IMAGE"),
    ],
    ids=["expired", "expired and removed", "gone", "no picture"],
)
async def test_18_a_reference_behind_a_dead_url_fails_the_job(
    tmp_path: Path, sdxl: Engine[Any], answer: bytes, path: str, reason: str
) -> None:
    """4.3: the job ends as failed with its reason, and nothing was generated or stored."""
    async with (
        fetching(Server(answer), path) as (url, fetcher),
        engine_pod(tmp_path, sdxl, urls=fetcher) as pod,
    ):
        for job in (
            picture_job(metadata={"reference_image_url": url, "reference_mode": "modify"}),
            picture_job(metadata={"reference_image_url": url, "exact_copy_mode": True}, prompt=""),
        ):
            told = await pod.run(job)
            check_reference_failure(pod, told, reason)


@pytest.mark.parametrize("mode", ["start", "end"])
async def test_18_a_clip_whose_reference_is_gone_fails(
    tmp_path: Path, wan: Engine[Any], mode: str
) -> None:
    """4.3 for a clip: no plain clip comes instead."""
    async with engine_pod(tmp_path, wan) as pod:
        told = await pod.run(clip_job(metadata={f"{mode}_reference_url": PICTURE_OF}))
        check_reference_failure(pod, told, "REFERENCE_NOT_FOUND")


def check_reference_failure(pod: EnginePod, told: Told, reason: str) -> None:
    """Assert a failure by its reference, before any work."""
    assert told.statuses == ["failed"]
    said = told.metadata
    assert (said["error_code"], said["error_reason"]) == ("REFERENCE_FRAME_ERROR", reason)
    assert said["stage"] == "reference"
    assert told.end["assets"] == []
    assert told.end["error_message"]
    assert pod.runs() == []
    assert pod.files() == []


async def test_18_an_unreachable_server_fails_the_job(tmp_path: Path, sdxl: Engine[Any]) -> None:
    """R-2: three tries at a server that answers 503, then a failure that may be tried again."""
    server, clock = Server(reply(503)), FakeClock()
    async with running(server) as home:
        urls = UrlFetcher(clock, max_bytes=1 << 20, jitter=lambda: 0.0, home=home)
        async with engine_pod(tmp_path, sdxl, urls=urls) as pod:
            job = picture_job(metadata={"reference_image_url": f"{home}/a.png"})
            running_job = asyncio.create_task(pod.run(job))
            while not running_job.done():
                await asyncio.to_thread(lambda: None)
                await clock.advance(0.5)
            told = await running_job
            check_reference_failure(pod, told, "REFERENCE_TIMEOUT")
            assert told.metadata["retryable"] is True
        await urls.close()
    assert len(server.heads) == 3


@pytest.mark.parametrize("by", ["operator", "job"])
async def test_18_a_reference_is_dropped_only_where_that_is_allowed_and_then_told(
    tmp_path: Path, sdxl: Engine[Any], by: str
) -> None:
    """F-1 to F-3: the operator's rule or the job's own word, and a callback that says so."""
    async with engine_pod(tmp_path, sdxl, falls_back=by == "operator") as pod:
        said: dict[str, Any] = {"reference_image_url": PICTURE_OF, "reference_mode": "modify"}
        if by == "job":
            said["allow_fallback"] = True
        told = await pod.completed(picture_job(metadata=said, config={"denoise_strength": 0.4}))
        assert told.metadata["fallback_used"] is True
        assert told.metadata["fallback_reason"] == "REFERENCE_FRAME_ERROR:REFERENCE_NOT_FOUND"
        assert told.metadata["fallback_to"] == "txt2img"
        assert told.metadata["requested_reference_mode"] == "modify"
        assert told.asset["pipeline"] == "txt2img"
        forbidding = said | {"allow_fallback": False}
        refused = await pod.run(picture_job(metadata=forbidding))
        assert refused.statuses == ["failed"]
        foreign = said | {"reference_image_url": "reference_images/somebody-else/a.png"}
        forbidden = await pod.run(picture_job(metadata=foreign))
        assert forbidden.statuses == ["failed"]
        assert forbidden.metadata["error_reason"] == "REFERENCE_FORBIDDEN"
