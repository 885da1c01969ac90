"""A hung attempt is killed at its deadline, and its job is not tried again (3.7, Q-11)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.pod.scene import Scene

from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.messages import Beat, Computed
from ourvidz_worker.domain.request import VideoRequest
from ourvidz_worker.pod.link import DEADLINE_GRACE_S, ENCODE_S
from ourvidz_worker.pod.preparation import deadline_of

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


async def pass_time(scene: Scene, seconds: float) -> None:
    """Let time pass in which the worker's main loop beats."""
    for _ in range(int(seconds // 10)):
        scene.report(Beat(steps=1, rss_bytes=1))
        await scene.clock.advance(10)
        await scene.work_done()


async def test_a_hung_attempt_is_killed_and_its_job_fails(scene: Scene) -> None:
    """3.7, 11: `TIMEOUT_ERROR`, no repeat; the next job finds a new worker."""
    await scene.submit()
    _, task = await scene.begin()
    await scene.given()
    process = scene.player.process
    await pass_time(scene, 180 + DEADLINE_GRACE_S)
    assert not process.ended.done()
    await scene.clock.advance(2)
    assert process.ended.done()
    await task
    record = await scene.record()
    assert (record.status, record.code, record.tries) == (Status.FAILED, "TIMEOUT_ERROR", 1)
    assert await scene.owed() == ["processing", "failed"]


async def test_a_hung_encoder_is_killed_too(scene: Scene) -> None:
    """Q-11: no job may hold a lane for ever, also when the device is done with it."""
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    process = scene.player.process
    await pass_time(scene, 100)
    scene.report(Computed(attempt_id=run.attempt_id))
    await pass_time(scene, ENCODE_S)
    assert not process.ended.done()
    await pass_time(scene, 2 * DEADLINE_GRACE_S)
    assert process.ended.done()
    await asyncio.wait({task})
    assert (await scene.record()).code == "TIMEOUT_ERROR"


async def test_a_cancelled_job_that_does_not_stop_is_ended_with_its_worker(scene: Scene) -> None:
    """K-20: the device is free within 10 s, and nobody is told of a failure."""
    await scene.submit()
    delivery, task = await scene.begin()
    await scene.given()
    process = scene.player.process
    await delivery.stop("cancelled")
    await scene.clock.advance(DEADLINE_GRACE_S)
    assert not process.ended.done()
    await scene.clock.advance(1)
    assert process.ended.done()
    await task
    assert (await scene.record()).status is Status.CANCELLED
    assert await scene.owed() == ["processing"]


async def test_a_cancelled_job_that_fails_is_cancelled(scene: Scene) -> None:
    """K-20: never a terminal callback after a cancel."""
    await scene.submit()
    delivery, task = await scene.begin()
    run = await scene.given()
    await delivery.stop("cancelled")
    scene.fail(run, "GENERATION_ERROR")
    await task
    assert (await scene.record()).status is Status.CANCELLED
    assert await scene.owed() == ["processing"]


CLIP = VideoRequest(
    job_type="video_fast",
    prompt="p",
    negative_prompt=None,
    steps=1,
    guidance=1,
    width=480,
    height=832,
    frames=81,
)
LONG = VideoRequest(
    job_type="video_fast",
    prompt="p",
    negative_prompt=None,
    steps=1,
    guidance=1,
    width=480,
    height=832,
    frames=85,
)


@pytest.mark.parametrize(
    ("kind", "request_", "configured", "seconds"),
    [
        ("sdxl_image_fast", CLIP, {}, 180.0),
        ("image_high", CLIP, {}, 180.0),
        ("image7b_fast_enhanced", CLIP, {}, 300.0),
        ("video_fast", CLIP, {}, 500.0),
        ("video7b_high_enhanced", CLIP, {}, 620.0),
        ("video_fast", LONG, {}, 1500.0),
        ("video7b_fast_enhanced", LONG, {}, 1500.0),
        ("chat_enhance", CLIP, {}, 90.0),
        ("video_fast", LONG, {"video_fast": 77.0}, 77.0),
        ("video_high", CLIP, {"video_fast": 77.0}, 500.0),
    ],
)
def test_the_deadline_of_each_type(
    kind: str, request_: VideoRequest, configured: dict[str, float], seconds: float
) -> None:
    """3.7: the table; `JOB_TIMEOUT_{TYPE}` goes before it."""
    assert deadline_of(JOB_TYPES[kind], request_, configured) == seconds
