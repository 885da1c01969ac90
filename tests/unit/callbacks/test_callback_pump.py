"""The pump: order within a job, several jobs at once, retries on the clock, and a clean end."""

import asyncio
import logging

import pytest
from tests.unit.callbacks.pump_scene import Row, Scene, running

from ourvidz_worker.callbacks.progress import ProgressRow
from ourvidz_worker.callbacks.pump import AT_ONCE
from ourvidz_worker.callbacks.verdict import Delivered, Final, Parked, Retry, Verdict

pytestmark = pytest.mark.anyio


async def test_what_is_owed_is_delivered_in_order_within_each_job() -> None:
    scene = Scene(lambda _: Delivered())
    for job in ("a", "b"):
        for status in ("processing", "completed"):
            scene.outbox.owe(job, status)
    async with running(scene):
        assert scene.outbox.struck == [1, 3, 2, 4]
    for job in ("a", "b"):
        of_job = [status for name, status, _ in scene.receiver.came if name == job]
        assert of_job == ["processing", "completed"]


async def test_a_kick_wakes_a_pump_with_nothing_to_do() -> None:
    scene = Scene(lambda _: Delivered())
    async with running(scene):
        await scene.clock.advance(10_000)
        scene.outbox.owe("a")
        await scene.clock.advance(0)
        assert scene.receiver.came == []
        scene.pump.kick()
        await scene.clock.advance(0)
        assert scene.outbox.struck == [1]


async def test_tries_follow_the_clock_and_hold_back_the_jobs_next_callback() -> None:
    answers: list[Verdict] = [Retry(error="e"), Retry(error="e"), Delivered(), Delivered()]
    scene = Scene(lambda _: answers.pop(0))
    scene.outbox.owe("a", "processing")
    scene.outbox.owe("a", "completed")
    async with running(scene):
        assert len(scene.receiver.came) == 1
        await scene.clock.advance(0.99)
        assert len(scene.receiver.came) == 1
        await scene.clock.advance(0.01)
        assert len(scene.receiver.came) == 2
        await scene.clock.advance(2)
        assert scene.outbox.struck == [1, 2]
    assert scene.receiver.came[-1] == ("a", "completed", 0)


async def test_processing_is_given_up_and_the_last_word_still_arrives() -> None:
    scene = Scene(lambda r: Retry(error="e") if r.status == "processing" else Delivered())
    scene.outbox.owe("a", "processing")
    scene.outbox.owe("a", "completed")
    async with running(scene):
        await scene.clock.advance(10)
        assert scene.outbox.dead == [(1, "e, tried 3 times")]
        assert scene.outbox.struck == [2]


async def test_a_job_that_cannot_be_told_does_not_hold_up_others() -> None:
    never = asyncio.Event()

    async def silence() -> Verdict:
        await never.wait()
        return Delivered()

    scene = Scene(lambda row: silence() if row.job_id == "slow" else Delivered())
    scene.outbox.owe("slow")
    scene.outbox.owe("quick")
    async with running(scene):
        assert scene.outbox.struck == [2]
        scene.outbox.owe("later")
        await scene.clock.advance(1)
        assert scene.outbox.struck == [2, 3]
        assert [name for name, _, _ in scene.receiver.came].count("slow") == 1
        never.set()
        await scene.clock.advance(0)
        assert scene.outbox.struck == [2, 3, 1]


async def test_only_so_many_are_under_way_together() -> None:
    gate = asyncio.Event()

    async def wait() -> Verdict:
        await gate.wait()
        return Delivered()

    scene = Scene(lambda _: wait())
    for number in range(3 * AT_ONCE):
        scene.outbox.owe(f"job-{number}")
    async with running(scene):
        await scene.clock.advance(5)
        assert len(scene.receiver.came) == AT_ONCE
        gate.set()
        await scene.clock.advance(0)
        assert len(scene.outbox.struck) == 3 * AT_ONCE
    assert scene.receiver.most_at_once == AT_ONCE


async def test_refused_keys_are_known_until_a_receiver_takes_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[Verdict] = [Parked(error="status 401"), Retry(error="e"), Delivered()]
    scene = Scene(lambda _: answers.pop(0))
    scene.outbox.owe("a")
    with caplog.at_level(logging.INFO):
        async with running(scene):
            assert scene.refused()
            await scene.clock.advance(299)
            assert len(scene.receiver.came) == 1
            await scene.clock.advance(1)
            assert len(scene.receiver.came) == 2
            assert scene.refused()
            await scene.clock.advance(2)
            assert not scene.refused()
    actions = [vars(record)["action"] for record in caplog.records]
    assert actions == [
        "callbacks_refused",
        "callback_postponed",
        "callback_postponed",
        "callback_delivered",
    ]


async def test_a_final_refusal_is_kept_among_the_dead() -> None:
    scene = Scene(lambda _: Final(reason="status 422"))
    scene.outbox.owe("a")
    async with running(scene):
        assert scene.outbox.dead == [(1, "status 422")]


async def test_a_processing_that_is_of_no_use_is_told_on() -> None:
    scene = Scene(lambda _: Delivered(skipped=True))
    scene.outbox.owe("a", "processing")
    scene.outbox.owe("b", "completed")
    async with running(scene):
        assert scene.outbox.struck == [1, 2]
    assert scene.skipped == ["a"]


async def test_an_outbox_that_cannot_be_read_is_asked_again() -> None:
    scene = Scene(lambda _: Delivered())
    scene.outbox.owe("a")
    scene.outbox.broken = 2
    async with running(scene):
        assert scene.receiver.came == []
        await scene.clock.advance(2)
        assert scene.receiver.came == []
        await scene.clock.advance(2)
        assert scene.outbox.struck == [1]


async def test_an_accepted_callback_is_written_down_without_sending_it_again() -> None:
    scene = Scene(lambda _: Delivered())
    scene.outbox.owe("a")

    def answer(_: Row | ProgressRow) -> Verdict:
        scene.outbox.broken = 1
        return Delivered()

    scene.receiver._answer = answer
    async with running(scene):
        assert scene.outbox.struck == []
        await scene.clock.advance(2)
        assert scene.outbox.struck == [1]
    assert len(scene.receiver.came) == 1


async def test_at_the_end_each_row_that_is_due_is_tried_once_more() -> None:
    scene = Scene(lambda row: Delivered() if row.job_id == "a" else Retry(error="e"))
    async with running(scene):
        for job in ("a", "b"):
            scene.outbox.owe(job, "processing")
            scene.outbox.owe(job, "completed")
        scene.stop.set()
        await scene.clock.advance(0)
    assert scene.outbox.struck == [1, 2]
    assert scene.receiver.came == [
        ("a", "processing", 0),
        ("b", "processing", 0),
        ("a", "completed", 0),
    ]


async def test_the_end_waits_for_what_is_under_way_but_for_no_outbox() -> None:
    gate = asyncio.Event()

    async def wait() -> Verdict:
        await gate.wait()
        return Delivered()

    scene = Scene(lambda _: wait())
    scene.outbox.owe("a")
    task = asyncio.create_task(scene.pump.run(scene.stop))
    await scene.clock.advance(0)
    scene.stop.set()
    await scene.clock.advance(0)
    assert not task.done()
    gate.set()
    await task
    assert scene.outbox.struck == [1]
    scene.outbox.broken = 1
    await scene.pump.run(scene.stop)


async def test_a_cancelled_pump_leaves_nothing_running() -> None:
    scene = Scene(lambda _: _forever())
    scene.outbox.owe("a")
    task = asyncio.create_task(scene.pump.run(scene.stop))
    await scene.clock.advance(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.receiver.under_way == {"a": 0}
    assert scene.outbox.struck == []


async def test_a_bug_in_the_sender_is_not_hidden() -> None:
    def broken(_: Row | ProgressRow) -> Verdict:
        raise RuntimeError("bug")

    scene = Scene(broken)
    scene.outbox.owe("a")
    with pytest.raises(RuntimeError, match="bug"):
        await scene.pump.run(scene.stop)


async def _forever() -> Verdict:
    await asyncio.Event().wait()
    return Delivered()
