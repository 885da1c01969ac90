"""Progress by callback, and jobs that the receiver has no row of (K-10, J-2)."""

import asyncio

import pytest
from tests.unit.callbacks.pump_scene import Row, Scene, running

from ourvidz_worker.callbacks.progress import ProgressRow
from ourvidz_worker.callbacks.verdict import Delivered, Retry, Verdict

pytestmark = pytest.mark.anyio


async def test_progress_is_told_seldom_and_between_processing_and_the_end() -> None:
    """K-10: at least 15 s apart, never before `processing` is settled, never after the end."""
    scene = Scene(lambda _: Delivered())

    def tell() -> None:
        scene.pump.tell_progress("a", lambda: b"{}")

    tell()
    async with running(scene):
        tell()
        await scene.clock.advance(20)
        assert scene.receiver.came == []
        scene.outbox.owe("a", "processing")
        scene.pump.kick()
        await scene.clock.advance(14)
        tell()
        await scene.clock.advance(0)
        assert len(scene.receiver.came) == 1
        await scene.clock.advance(1)
        for _ in range(3):
            tell()
            await scene.clock.advance(0)
        assert len(scene.receiver.came) == 2
        await scene.clock.advance(15)
        tell()
        await scene.clock.advance(0)
        scene.outbox.owe("a", "completed")
        scene.pump.kick()
        await scene.clock.advance(60)
        tell()
        await scene.clock.advance(0)
    assert [status for _, status, _ in scene.receiver.came] == ["processing"] * 3 + ["completed"]


async def test_the_end_waits_for_a_progress_callback_that_is_under_way() -> None:
    """K-10: strictly in order within a job."""
    answered = asyncio.Event()

    async def answer(row: Row | ProgressRow) -> Verdict:
        if row.body == b"progress":
            await answered.wait()
        return Delivered()

    scene = Scene(answer)
    async with running(scene):
        scene.outbox.owe("a", "processing")
        scene.pump.kick()
        await scene.clock.advance(15)
        scene.pump.tell_progress("a", lambda: b"progress")
        await scene.clock.advance(0)
        scene.outbox.owe("a", "completed")
        scene.pump.kick()
        await scene.clock.advance(5)
        assert scene.outbox.struck == [1]
        answered.set()
        await scene.clock.advance(1)
        assert scene.outbox.struck == [1, 2]


async def test_progress_that_is_refused_is_not_tried_again() -> None:
    """K-10: nothing is owed for it."""
    scene = Scene(lambda row: Delivered() if row.body == b"{}" else Retry(error="status 503"))
    async with running(scene):
        scene.outbox.owe("a", "processing")
        scene.pump.kick()
        await scene.clock.advance(15)
        scene.pump.tell_progress("a", lambda: b"progress")
        await scene.clock.advance(200)
    assert len(scene.receiver.came) == 2
    assert scene.outbox.dead == []


async def test_a_job_without_a_row_counts_as_told_where_none_is_found() -> None:
    """J-2: also its `processing`, which does not say what type of job it is."""
    scene = Scene(lambda _: Retry(error="status 404", at_most=3))
    scene.pump.expect_no_row("chat")
    async with running(scene):
        scene.outbox.owe("chat", "processing")
        scene.outbox.owe("image", "processing")
        scene.pump.kick()
        await scene.clock.advance(30)
    assert scene.outbox.struck == [1]
    assert [number for number, _ in scene.outbox.dead] == [2]
