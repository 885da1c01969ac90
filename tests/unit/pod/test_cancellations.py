"""What the application's rows say of the jobs held: cancel, settle in silence, repair (7.5)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from tests.unit.pod.scene import PlayedRows, Scene

from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.messages import Cancel, Stopped
from ourvidz_worker.pod.cancellations import LOOK_EVERY_S, Cancellations
from ourvidz_worker.rows import RowState
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


def job_of(kind: str, job_id: str = "job") -> Job:
    row = JOB_TYPES["chat_enhance"] if kind == "unknown" else JOB_TYPES[kind]
    return Job(
        id=job_id,
        type=kind,
        user_id="u",
        lane=row.lane,
        priority=row.priority,
        payload=b"{}",
        submitted_at=0.0,
    )


class HeldJob:
    """A job that notes why it was stopped."""

    def __init__(self, kind: str, job_id: str) -> None:
        self.job = job_of(kind, job_id)
        self.stopped: list[str] = []

    async def stop(self, reason: str) -> None:
        self.stopped.append(reason)


@pytest.mark.parametrize(
    ("kind", "state", "ended"),
    [
        ("sdxl_image_fast", RowState.QUEUED, None),
        ("sdxl_image_fast", RowState.PROCESSING, None),
        ("sdxl_image_fast", RowState.UNKNOWN, None),
        ("sdxl_image_fast", RowState.CANCELLED, Status.CANCELLED),
        ("sdxl_image_fast", RowState.MISSING, Status.CANCELLED),
        ("video_high", RowState.MISSING, Status.CANCELLED),
        ("chat_enhance", RowState.MISSING, None),
        ("chat_conversation", RowState.CANCELLED, Status.CANCELLED),
        ("video_fast", RowState.COMPLETED, Status.COMPLETED),
        ("video_fast", RowState.FAILED, Status.FAILED),
        ("admin_utilities", RowState.MISSING, None),
        ("unknown", RowState.MISSING, Status.CANCELLED),
    ],
)
async def test_what_a_row_means_before_a_job_begins(
    kind: str, state: RowState, ended: Status | None
) -> None:
    """K-20, J-2: the table, row by row."""
    rows = PlayedRows()
    rows.states["job"] = state
    assert await Cancellations(rows, FakeClock()).ended_before(job_of(kind)) is ended


async def test_without_an_application_nothing_is_asked() -> None:
    found = Cancellations(None, FakeClock())
    assert await found.ended_before(job_of("video_fast")) is None
    assert await found.repair_prompt("job") == ()


async def test_every_five_seconds_every_job_held_is_looked_at() -> None:
    """K-20: one look for all of them; a failed or finished row stops nothing under way."""
    clock, rows = FakeClock(), PlayedRows()
    held = [HeldJob("video_fast", name) for name in ("a", "b", "c", "d", "e")]
    rows.states |= {
        "b": RowState.CANCELLED,
        "c": RowState.MISSING,
        "d": RowState.UNKNOWN,
        "e": RowState.COMPLETED,
    }
    watching = asyncio.create_task(Cancellations(rows, clock).watch(lambda: held))
    await clock.advance(LOOK_EVERY_S - 0.1)
    assert rows.asked == []
    await clock.advance(0.1)
    assert sorted(rows.asked) == ["a", "b", "c", "d", "e"]
    assert [one.stopped for one in held] == [[], ["cancelled"], ["cancelled"], [], []]
    await clock.advance(LOOK_EVERY_S)
    assert len(rows.asked) == 10
    watching.cancel()


async def test_a_callback_of_no_use_makes_it_look_at_once() -> None:
    """K-11: `skipped` on `processing`."""
    clock, rows = FakeClock(), PlayedRows()
    held = [HeldJob("video_fast", "a")]
    rows.states["a"] = RowState.CANCELLED
    cancellations = Cancellations(rows, clock)
    watching = asyncio.create_task(cancellations.watch(lambda: held))
    await clock.advance(0)
    cancellations.look("a")
    await clock.advance(0)
    assert held[0].stopped == ["cancelled"]
    watching.cancel()


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (RowState.CANCELLED, Status.CANCELLED),
        (RowState.MISSING, Status.CANCELLED),
        (RowState.COMPLETED, Status.COMPLETED),
        (RowState.FAILED, Status.FAILED),
    ],
)
async def test_a_job_that_had_ended_is_acknowledged_without_work_or_callback(
    scene: Scene, state: RowState, status: Status
) -> None:
    """K-20: nothing runs, nothing is told."""
    scene.rows.states["job"] = state
    await scene.submit()
    delivery, task = await scene.begin()
    await task
    assert (await scene.record()).status is status
    assert scene.runs() == []
    assert await scene.owed() == []
    assert delivery.end in {None, Status.CANCELLED}


async def test_a_row_cancelled_under_way_stops_the_run_and_leaves_no_file(scene: Scene) -> None:
    """K-20: at the next step, without a callback."""
    await scene.submit()
    delivery, task = await scene.begin()
    run = await scene.given()
    scene.rows.states["job"] = RowState.CANCELLED
    cancellations = scene.ports.cancellations
    watching = asyncio.create_task(cancellations.watch(lambda: [delivery]))
    await scene.clock.advance(LOOK_EVERY_S)
    assert scene.sent(Cancel) == [Cancel(attempt_id=run.attempt_id)]
    scene.player.pipe.reports.put_nowait(Stopped(attempt_id=run.attempt_id, reason="cancelled"))
    await task
    watching.cancel()
    assert (await scene.record()).status is Status.CANCELLED
    assert scene.files() == []
    assert await scene.owed() == ["processing"]


@pytest.mark.parametrize("fails", [False, True], ids=["done", "failed"])
async def test_a_row_cancelled_between_two_looks_counts_before_the_end_is_told(
    scene: Scene, fails: bool
) -> None:
    """K-10, K-20: no terminal callback after a cancel, and no file."""
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    scene.rows.states["job"] = RowState.CANCELLED
    if fails:
        scene.fail(run, "INVALID_PROMPT")
    else:
        scene.finish(run)
    await task
    assert (await scene.record()).status is Status.CANCELLED
    assert scene.files() == []
    assert await scene.owed() == ["processing"]


async def test_what_an_earlier_try_stored_goes_with_a_cancelled_job(scene: Scene) -> None:
    """K-20, U-4: a try that was killed after its upload left files under the same keys."""
    await scene.submit()
    _, first = await scene.begin()
    await scene.given()
    left = scene.spool / "left.png"
    left.write_bytes(b"x")
    await scene.storage.put("workspace-temp/u/job/0.png", left, "image/png")
    left.unlink()
    scene.player.process.kill()
    await first
    await scene.clock.advance(10)
    scene.player.get_ready()
    await scene.clock.advance(1)
    delivery, second = await scene.begin()
    run = await scene.given()
    await delivery.stop("cancelled")
    scene.player.pipe.reports.put_nowait(Stopped(attempt_id=run.attempt_id, reason="cancelled"))
    await second
    assert scene.files() == []


async def test_a_copy_without_a_prompt_has_its_row_repaired_before_it_is_told(
    scene: Scene,
) -> None:
    """K-13: noted in `warnings`; the text never reaches a model."""
    key = await scene.keep_picture()
    await scene.submit(prompt="", metadata={"reference_image_url": key, "exact_copy_mode": True})
    _, task = await scene.begin()
    run = await scene.given()
    scene.finish(run)
    await task
    record = await scene.record()
    assert scene.rows.repaired == ["job"]
    assert record.facts["warnings"] == ["original prompt repaired"]
    assert getattr(run.request, "prompt", None) == ""


async def test_a_job_with_a_prompt_needs_no_repair(scene: Scene) -> None:
    """K-13: the worker's only write to a table is for empty prompts."""
    await scene.submit()
    _, task = await scene.begin()
    scene.finish(await scene.given())
    await task
    assert scene.rows.repaired == []


async def test_what_cannot_be_read_is_a_dead_letter_also_where_nobody_waits(scene: Scene) -> None:
    """Q-21, K-20: no row, no callback, but the operator finds it."""
    scene.rows.states["job"] = RowState.MISSING
    await scene.queue.submit(msgspec.structs.replace(job_of("sdxl_image_fast"), payload=b"\xff"))
    _, task = await scene.begin()
    await task
    assert [letter.job_id for letter in await scene.queue.dead()] == ["job"]
    assert await scene.owed() == []
