"""The memory left to itself: who is loaded at the start, for demand, afterwards and ahead."""

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from tests.unit.pod.memory_scene import LOAD_S, Desk

from ourvidz_worker.domain.errors import Unavailable
from ourvidz_worker.domain.lane import START_ORDER, Lane
from ourvidz_worker.domain.memory import GIB, Why
from ourvidz_worker.domain.messages import Failed
from ourvidz_worker.pod.memory import AFTER_FAILURE_S
from ourvidz_worker.telemetry.log import Action

pytestmark = pytest.mark.anyio


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    made = Desk()
    made.begin()
    await made.pass_time(2 * LOAD_S + 2)
    yield made
    await made.close()


async def test_the_start_loads_by_priority_while_it_fits(desk: Desk) -> None:
    """O-2 and the table of 9: sdxl, then chat; wan on demand."""
    assert desk.started == [Lane.IMAGE, Lane.CHAT]
    assert desk.up() == {Lane.IMAGE, Lane.CHAT}
    assert desk.events() == [("load", "sdxl", "start", None), ("load", "chat", "start", None)]
    assert [desk.memory.may_lease(lane) for lane in START_ORDER] == [True, True, False]


async def test_a_small_card_starts_what_fits_and_no_device_starts_all() -> None:
    small, boundless = Desk(total_gib=24), Desk(total_gib=None)
    for desk in (small, boundless):
        desk.begin()
        await desk.pass_time(3 * LOAD_S + 4)
        await desk.close()
    assert small.started == [Lane.IMAGE]
    assert boundless.started == [Lane.IMAGE, Lane.CHAT, Lane.VIDEO]


async def test_a_video_job_makes_chat_leave_and_chat_comes_back(desk: Desk) -> None:
    """§12 line 37, M-3: room is made for wan; afterwards chat returns and wan leaves."""
    desk.wait_in(Lane.VIDEO)
    await desk.pass_time(LOAD_S + 4)
    assert desk.up() == {Lane.IMAGE, Lane.VIDEO}
    running = await desk.work(Lane.VIDEO)
    desk.wait_in(Lane.VIDEO, 0, leased=1)
    await desk.pass_time(60)
    assert desk.up() == {Lane.IMAGE, Lane.VIDEO}
    await desk.finish(Lane.VIDEO)
    await running
    desk.wait_in(Lane.VIDEO, 0)
    await desk.pass_time(2 * LOAD_S - 2)
    assert desk.up() == {Lane.IMAGE, Lane.VIDEO}
    await desk.pass_time(LOAD_S + 5)
    assert desk.up() == {Lane.IMAGE, Lane.CHAT}
    assert desk.events()[2:] == [
        ("evict", "chat", "room", "wan"),
        ("load", "wan", "demand", None),
        ("evict", "wan", "room", "chat"),
        ("load", "chat", "restored", None),
    ]


async def test_a_measured_peak_lets_all_three_stay(desk: Desk) -> None:
    """M-2: after its first use wan counts for what it really took; chat returns beside it."""
    desk.wait_in(Lane.VIDEO)
    await desk.pass_time(LOAD_S + 4)
    running = await desk.work(Lane.VIDEO)
    desk.wait_in(Lane.VIDEO, 0, leased=1)
    await desk.finish(Lane.VIDEO, peak_gib=12)
    await running
    await desk.pass_time(LOAD_S + 3)
    assert desk.up() == {Lane.IMAGE, Lane.CHAT, Lane.VIDEO}


async def test_busy_workers_are_not_evicted_and_a_starved_lane_gets_its_turn(desk: Desk) -> None:
    """M-5: chat and sdxl are in use, so wan waits; after a minute their users are waited for."""
    image, chat = await desk.work(Lane.IMAGE), await desk.work(Lane.CHAT)
    desk.wait_in(Lane.VIDEO)
    await desk.pass_time(50)
    assert desk.up() == {Lane.IMAGE, Lane.CHAT}
    await desk.pass_time(20)
    assert not desk.memory.may_lease(Lane.CHAT)
    await desk.finish(Lane.CHAT)
    await asyncio.gather(chat)
    await desk.pass_time(LOAD_S + 5)
    assert desk.up() == {Lane.IMAGE, Lane.VIDEO}
    assert not image.done()
    image.cancel()


async def test_a_load_that_fails_is_recorded_and_not_repeated_at_once(desk: Desk) -> None:
    """M-4: a failure frees everything; the supervisor alone tries again, after its pause."""
    desk.broken.add(Lane.VIDEO)
    desk.wait_in(Lane.VIDEO)
    await desk.pass_time(LOAD_S + 3)
    last = desk.memory.memory_report().events[-1]
    assert (last.event, last.worker, last.succeeded) == ("load", "wan", False)
    started = desk.started.count(Lane.VIDEO)
    await desk.pass_time(AFTER_FAILURE_S - 4)
    assert desk.started.count(Lane.VIDEO) <= started + 1


async def test_a_pod_that_stops_brings_nobody_back(desk: Desk) -> None:
    """O-6: a worker that was told to end stays away, and nothing fails for it."""
    stopping = asyncio.create_task(desk.crew.stop(5.0))
    await desk.pass_time(10)
    await stopping
    assert desk.up() == set()
    assert desk.started == [Lane.IMAGE, Lane.CHAT]
    assert all(event.succeeded for event in desk.memory.memory_report().events)


async def test_a_driver_that_says_nothing_is_replaced_by_the_ledger(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """M-2: what cannot be seen counts as using its budget."""

    async def nothing() -> None:
        return None

    monkeypatch.setattr(desk.broker.meter, "read", nothing)
    await desk.pass_time(2)
    assert desk.broker.free_bytes == 23 * GIB
    with pytest.raises(Unavailable):
        desk.memory.memory_status("wan")


async def test_foreign_memory_shrinks_the_room_and_breaks_nothing(desk: Desk) -> None:
    """M-2: the truth is what the device has free, whoever uses it."""
    desk.foreign_bytes = 20 * GIB
    desk.wait_in(Lane.VIDEO)
    await desk.pass_time(5)
    assert desk.up() == {Lane.IMAGE, Lane.CHAT}
    report = desk.memory.memory_report()
    assert report.pressure_level == "critical"
    assert any("wan has work waiting" in told for told in report.recommendations)
    desk.foreign_bytes = 0
    await desk.pass_time(LOAD_S + 5)
    assert Lane.VIDEO in desk.up()


async def test_a_lane_that_was_asked_for_lately_is_loaded_ahead() -> None:
    """M-6: on a larger card, from the rate of arrivals, into free room, visible in the report."""
    desk = Desk(total_gib=80)
    desk.begin()
    await desk.pass_time(2 * LOAD_S + 2)
    desk.wait_in(Lane.VIDEO)
    await desk.pass_time(LOAD_S + 3)
    desk.wait_in(Lane.VIDEO, 0)
    evicting = asyncio.create_task(_evict(desk, Lane.VIDEO))
    await desk.pass_time(LOAD_S + 4)
    await evicting
    assert desk.up() == {Lane.IMAGE, Lane.CHAT, Lane.VIDEO}
    report = desk.memory.memory_report()
    assert report.predictions["wan"].arrivals_per_minute > 0
    assert report.predictions["wan"].load_seconds == LOAD_S
    assert desk.events()[-1] == ("load", "wan", "predicted", None)
    await desk.close()


async def test_a_caller_waits_for_a_model_that_comes_in_time_and_no_other(desk: Desk) -> None:
    """T-8: a model that cannot become resident in time is a 503 at once, with Retry-After."""
    assert await desk.memory.summon(Lane.CHAT, 45.0) == 0.0
    assert desk.memory.memory_report().predictions["chat"].arrivals_per_minute > 0
    sending = asyncio.create_task(desk.memory.unload([Lane.CHAT]))
    await desk.pass_time(2)
    await sending
    coming = asyncio.create_task(desk.memory.summon(Lane.CHAT, 45.0))
    await desk.pass_time(1)
    with pytest.raises(Unavailable) as told:
        await desk.memory.summon(Lane.CHAT, LOAD_S / 2)
    assert told.value.facts["retry_after_s"] == LOAD_S
    await desk.pass_time(LOAD_S + 2)
    await coming
    assert Lane.CHAT in desk.up()
    with pytest.raises(Unavailable):
        await desk.memory.summon(Lane.VIDEO, 45.0)


async def test_a_caller_goes_before_work_that_still_waits_for_an_idle_worker(desk: Desk) -> None:
    """W-3, M-5: a video job whose prompt chat must extend gets chat first, then wan again."""
    desk.wait_in(Lane.VIDEO, 2)
    await desk.pass_time(LOAD_S + 4)
    assert desk.up() == {Lane.IMAGE, Lane.VIDEO}
    desk.wait_in(Lane.VIDEO, 1, leased=1)
    coming = asyncio.create_task(desk.memory.summon(Lane.CHAT, 45.0))
    await desk.pass_time(LOAD_S + 3)
    assert await coming <= LOAD_S + 2
    assert Lane.CHAT in desk.up()
    talking = await desk.work(Lane.CHAT)
    await desk.pass_time(2)
    await desk.finish(Lane.CHAT)
    await talking
    await desk.pass_time(LOAD_S + 4)
    assert desk.up() == {Lane.IMAGE, Lane.VIDEO}


async def test_an_attempt_without_memory_sends_idle_workers_away_first(desk: Desk) -> None:
    """M-5: out of memory evicts idle models by the table before the one retry."""
    running = await desk.work(Lane.IMAGE)
    desk.foreign_bytes = 20 * GIB
    failed = Failed(attempt_id="image", code="OOM_ERROR", sentence="no", retryable=True)
    desk.fakes[Lane.IMAGE].pipe.reports.put_nowait(failed)
    await desk.pass_time(3)
    assert await running == failed
    assert Lane.CHAT not in desk.up()
    assert ("evict", "chat", "out_of_memory", "sdxl") in desk.events()


async def test_the_log_tells_every_minute_how_the_device_is(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    """O-8: the device's status comes from the driver, every 60 s."""
    with caplog.at_level(logging.INFO, logger="ourvidz_worker.pod.memory"):
        await desk.pass_time(120)
    told = [vars(one) for one in caplog.records if vars(one)["action"] is Action.DEVICE_STATUS]
    assert [(one["total_bytes"], one["free_bytes"]) for one in told] == [
        (48 * GIB, 23 * GIB),
        (48 * GIB, 23 * GIB),
    ]
    assert told[0]["device"] == "simulated"


async def _evict(desk: Desk, lane: Lane) -> None:
    async with desk.broker.lock:
        await desk.broker.evict(lane, Why.ROOM)


async def test_questions_about_the_pod_bring_no_model_back(desk: Desk) -> None:
    """J-2: they need none, however many wait."""
    await desk.memory.unload([Lane.VIDEO])
    desk.wait_in(Lane.ADMIN, 9)
    await desk.pass_time(300)
    assert desk.up() == {Lane.IMAGE, Lane.CHAT}
    desk.wait_in(Lane.VIDEO, 1)
    await desk.pass_time(60)
    assert Lane.VIDEO in desk.up()
