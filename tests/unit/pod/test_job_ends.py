"""Deadlines, refusals, unreadable jobs, drains and progress: how a job's time in the pod ends."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.unit.pod.scene import Scene

from ourvidz_worker.domain.errors import Refused, Unavailable
from ourvidz_worker.domain.job import Job, Status, Token
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.messages import Computed, Progress, Run, Stopped
from ourvidz_worker.domain.request import Request
from ourvidz_worker.queue import Settlement

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


async def test_a_retry_never_extends_a_deadline(scene: Scene) -> None:
    """3.7: time in work is carried over from one attempt to the next."""
    await scene.submit()
    _, first = await scene.begin()
    run = await scene.given()
    assert run.deadline_s == 180.0
    await scene.clock.advance(70)
    scene.fail(run, "GENERATION_ERROR")
    await first
    await scene.clock.advance(1)
    _, second = await scene.begin()
    again = await scene.given()
    assert again.deadline_s == pytest.approx(110.0)
    scene.finish(again)
    await second
    record = await scene.record()
    assert record.facts["warnings"] == ["attempt 1 ended with GENERATION_ERROR"]
    assert (record.facts["attempts"], record.facts["oom_retry"]) == (2, False)


async def test_the_time_before_and_after_the_device_does_not_count(scene: Scene) -> None:
    """3.7: only time in work does; files are written on the CPU."""
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    await scene.clock.advance(40)
    scene.report(Computed(attempt_id=run.attempt_id))
    await scene.clock.advance(20)
    assert scene.recovery.past("job").spent_s == pytest.approx(40.0)
    scene.finish(run)
    await task


async def test_a_job_whose_time_is_used_up_is_not_begun_again(scene: Scene) -> None:
    """3.7, 11: `TIMEOUT_ERROR`, and no worker is troubled."""
    await scene.submit()
    delivery, first = await scene.begin()
    run = await scene.given()
    await scene.clock.advance(50)
    scene.recovery.worked(delivery.lease, 130.0)
    scene.fail(run, "GENERATION_ERROR")
    await first
    await scene.clock.advance(1)
    _, second = await scene.begin()
    await second
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, "TIMEOUT_ERROR")
    assert scene.runs() == []


async def test_the_operators_own_deadline_is_used(scene: Scene) -> None:
    """3.7: `JOB_TIMEOUT_{TYPE}`."""
    scene.prepare_with(deadlines={"sdxl_image_fast": 33.0})
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    assert run.deadline_s == 33.0
    scene.finish(run)
    await task


async def test_a_retry_after_memory_ran_out_is_told(scene: Scene) -> None:
    """M-5, 7.3: `oom_retry`."""
    await scene.submit()
    _, first = await scene.begin()
    scene.fail(await scene.given(), "OOM_ERROR")
    await first
    await scene.clock.advance(1)
    _, second = await scene.begin()
    scene.finish(await scene.given())
    await second
    facts = (await scene.record()).facts
    assert facts["oom_retry"] is True
    assert facts["warnings"] == ["attempt 1 ended with OOM_ERROR"]


@pytest.mark.parametrize("payload", [b"\xff\xfe", b"", b"[1,2]", b'"text"', b"{", b"null", b"NaN"])
async def test_a_job_that_cannot_be_read_fails_and_is_buried(scene: Scene, payload: bytes) -> None:
    """Q-21, Q-31, K-3: stage `decode`, a failed callback and a dead letter, never an exception."""
    await put(scene, payload, kind="")
    _, task = await scene.begin()
    await task
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, "INVALID_REQUEST")
    assert record.facts["stage"] == "decode"
    assert [letter.job_id for letter in await scene.queue.dead()] == ["job"]
    assert await scene.owed() == ["failed"]
    assert scene.runs() == []


@pytest.mark.parametrize(
    ("payload", "code"),
    [
        (b'{"id":"job","user_id":"u","type":"nonsense","prompt":"p"}', "INVALID_REQUEST"),
        (b'{"id":"job","user_id":"u","type":"sdxl_image_fast"}', "INVALID_REQUEST"),
        (b'{"id":"job","user_id":"u","type":"sdxl_image_fast","prompt":""}', "INVALID_PROMPT"),
        (
            b'{"id":"job","user_id":"u","type":"sdxl_image_fast","prompt":"p","config":7}',
            "INVALID_REQUEST",
        ),
    ],
)
async def test_a_wrong_job_fails_at_once_and_is_told(
    scene: Scene, payload: bytes, code: str
) -> None:
    """Q-11, Q-31, K-3: stage `validate`, one terminal callback, no dead letter."""
    await put(scene, payload, kind="sdxl_image_fast")
    _, task = await scene.begin()
    await task
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, code)
    assert (record.facts["stage"], record.facts["retryable"]) == ("validate", False)
    assert await scene.queue.dead() == []
    assert await scene.owed() == ["failed"]


async def test_a_queued_job_is_judged_before_any_work(scene: Scene) -> None:
    """P-6: on the queue as on HTTP; not retryable, the fixed sentence."""
    judged: list[Request] = []

    async def refuse(request: Request) -> None:
        judged.append(request)
        raise Refused

    scene.prepare_with(admit=refuse)
    await scene.submit()
    _, task = await scene.begin()
    await task
    record = await scene.record()
    assert len(judged) == 1
    assert (record.code, record.facts["stage"]) == ("INVALID_PROMPT", "admission")
    assert record.facts["retryable"] is False
    assert record.sentence == "The request was refused by the admission rules."
    assert scene.runs() == []


async def test_a_policy_that_breaks_gives_the_job_back(scene: Scene) -> None:
    """P-6: `WORKER_UNAVAILABLE`, not a pass."""

    async def break_down(request: Request) -> None:
        raise Unavailable

    scene.prepare_with(admit=break_down)
    await scene.submit()
    for _ in range(3):
        _, task = await scene.begin()
        await task
        await scene.clock.advance(1)
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, "WORKER_UNAVAILABLE")
    assert scene.runs() == []


async def test_a_worker_that_ends_while_the_pod_drains_costs_no_try(scene: Scene) -> None:
    """O-6: given back to the left, without a callback."""
    await scene.submit()
    delivery, task = await scene.begin()
    await scene.given()
    delivery.draining = True
    scene.player.process.kill()
    await task
    record = await scene.record()
    assert (record.status, record.tries) == (Status.WAITING, 0)
    assert await scene.owed() == ["processing"]


async def test_a_run_that_its_worker_gave_up_goes_back_unburnt(scene: Scene) -> None:
    """Section 9, `force_unload`: cancelled work returns to the queue."""
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    scene.report(Stopped(attempt_id=run.attempt_id, reason="draining"))
    await task
    record = await scene.record()
    assert (record.status, record.tries) == (Status.WAITING, 0)


async def test_a_lost_lease_leaves_the_files_to_whoever_holds_the_job_now(scene: Scene) -> None:
    """Q-5: the new holder uses the same keys."""
    await scene.submit()
    delivery, task = await scene.begin()
    run = await scene.given()
    scene.finish(run)
    await delivery.stop("lost")
    await task
    assert len(scene.files()) == 1
    assert (await scene.record()).status is Status.LEASED


async def test_a_stop_that_comes_as_the_work_begins_reaches_the_worker(scene: Scene) -> None:
    """K-20: no instant at which a stop is lost."""
    for turns in range(12):
        job_id = await scene.submit(id=f"job-{turns}")
        scene.player.pipe.sent.clear()
        delivery, task = await scene.begin()
        for _ in range(turns):
            await scene.clock.sleep(0)
        await delivery.stop("cancelled")
        while not task.done():
            for run in scene.runs():
                scene.report(Stopped(attempt_id=run.attempt_id, reason="cancelled"))
            await scene.work_done()
            await scene.clock.advance(0)
        assert (await scene.record(job_id)).status is Status.CANCELLED


async def test_progress_reaches_the_teller(scene: Scene) -> None:
    """K-10: `metadata.progress` is what the worker says."""
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    scene.report(progress(run, 0.25), progress(run, 0.5))
    scene.finish(run)
    await task
    assert scene.teller.fractions == [0.25, 0.5]


async def test_a_thumbnail_that_cannot_be_stored_is_a_warning(scene: Scene) -> None:
    """U-2: `THUMBNAIL_GENERATION_ERROR` in `warnings`, and the job completes."""
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    (Path(run.spool) / "0.thumb.webp").mkdir()
    scene.finish(run, thumbnail="0.thumb.webp")
    while not task.done():
        await scene.work_done()
        await scene.clock.advance(1)
    record = await scene.record()
    assert record.status is Status.COMPLETED
    assert record.facts["warnings"] == ["THUMBNAIL_GENERATION_ERROR: thumbnail 0"]


async def test_a_texts_body_is_kept_for_whoever_looks_it_up(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """J-1: the completed body goes with the settlement; a picture's does not."""
    ends: list[Settlement] = []
    settle = scene.queue.settle

    async def note(token: Token, end: Settlement) -> None:
        ends.append(end)
        await settle(token, end)

    monkeypatch.setattr(scene.queue, "settle", note)
    await scene.submit(id="question", type="admin_utilities")
    _, task = await scene.begin()
    await task
    await scene.submit(id="picture")
    _, task = await scene.begin()
    scene.finish(await scene.given())
    await task
    assert [end.callback for end in ends] == [b"completed", b"completed"]
    assert [end.result for end in ends] == [b"completed", None]


async def test_a_lane_that_cannot_load_gives_its_jobs_back_unburnt(scene: Scene) -> None:
    """Q-8: three failures in a row, whosoever they are, burn nobody's try."""
    for name in ("a", "b", "c"):
        await scene.submit(id=name)
    for _ in range(3):
        _, task = await scene.begin()
        scene.fail(await scene.given(), "MODEL_LOAD_ERROR")
        await task
    assert not scene.breaker.may_lease(Lane.IMAGE)
    for name in ("a", "b", "c"):
        record = await scene.record(name)
        assert (record.status, record.tries) == (Status.WAITING, 0)


def progress(run: Run, fraction: float) -> Progress:
    return Progress(attempt_id=run.attempt_id, stage="denoise", step=1, steps=4, fraction=fraction)


async def put(scene: Scene, payload: bytes, *, kind: str) -> None:
    """Put whatever bytes into the queue, as its lists might hold them."""
    await scene.queue.submit(
        Job(
            id="job",
            type=kind,
            user_id="u",
            lane=Lane.IMAGE,
            priority=PriorityClass.NORMAL,
            payload=payload,
            submitted_at=scene.clock.now(),
        )
    )
