"""Health: a snapshot that asks nobody, true to what the workers are (contract 2.5)."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import cast

import pytest
from tests.unit.pod.memory_scene import LOAD_S, Desk

from ourvidz_worker.domain.errors import QueueUnavailable, UploadFailed
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import Beat, Description
from ourvidz_worker.pod.health import REFRESH_S, Health
from ourvidz_worker.pod.supervisor import FAILED_RETRY_S, SILENT_AFTER_S
from ourvidz_worker.queue import Queue
from ourvidz_worker.storage import Storage

pytestmark = pytest.mark.anyio


class Surroundings:
    """A queue and a storage that answer, fail, or hang."""

    def __init__(self) -> None:
        self.told: dict[Lane, Depth] = {Lane.IMAGE: Depth(waiting=3, leased=1)}
        self.is_reachable = True
        self.hangs = False

    async def depths(self) -> Mapping[Lane, Depth]:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if not self.is_reachable:
            raise QueueUnavailable
        return self.told

    async def check(self) -> None:
        if not self.is_reachable:
            raise UploadFailed


class Ward:
    """A health over fake workers."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.around = Surroundings()
        self.refused = False
        self.health = Health(
            desk.workers,
            cast(Queue, self.around),
            cast(Storage, self.around),
            desk.clock,
            refused=lambda: self.refused,
            limits={"max_frames": 161},
        )


@pytest.fixture
async def ward() -> AsyncIterator[Ward]:
    desk = Desk()
    desk.begin(loops=False)
    yield Ward(desk)
    await desk.close()


async def test_it_starts_then_is_healthy_and_tells_each_port_of_its_own_model(ward: Ward) -> None:
    """H-12: starting is `ready:false`; `model_loaded` is true once the default model can serve."""
    await ward.desk.pass_time(1)
    starting = ward.health.health("wan")
    assert (starting.status, starting.ready, starting.model_loaded) == ("starting", False, False)
    await ward.desk.pass_time(LOAD_S + 1)
    image, chat = ward.health.health("wan"), ward.health.health("chat")
    assert (image.status, image.ready, image.model_loaded) == ("healthy", True, True)
    assert (chat.status, chat.ready, chat.model_loaded) == ("starting", False, False)
    assert image.models_loaded["sdxl_loaded"] is True
    assert image.uptime_s == LOAD_S + 2


async def test_a_worker_s_models_are_told_by_their_names(ward: Ward) -> None:
    """2.4: what a caller may name; Base where the worker has one."""
    await ward.desk.pass_time(2 * LOAD_S + 2)
    chat = ward.health.health("chat").workers[Lane.CHAT]
    assert (chat["model"], chat.get("base_model")) == ("none", None)
    told = Description(
        engine="e", model="One", device="cpu", details={"base_model_name": "Two", "other": 1}
    )
    ward.desk.fakes[Lane.CHAT].pipe.reports.put_nowait(told)
    await ward.desk.pass_time(1)
    chat = ward.health.health("chat").workers[Lane.CHAT]
    assert (chat["model"], chat["base_model"]) == ("One", "Two")


async def test_an_unloaded_model_is_no_fault(ward: Ward) -> None:
    """H-12, M-4: what was sent away is not down, it is not loaded."""
    await ward.desk.pass_time(2 * LOAD_S + 2)
    sending = asyncio.create_task(ward.desk.memory.unload([Lane.CHAT]))
    await ward.desk.pass_time(2)
    await sending
    view = ward.health.health("chat")
    assert (view.status, view.model_loaded, view.problems) == ("healthy", False, ())


async def test_one_dead_engine_degrades_and_all_of_them_are_unhealthy(ward: Ward) -> None:
    """H-12, §12 line 34: whoever is meant to be up counts; a worker sent away does not."""
    await ward.desk.pass_time(2 * LOAD_S + 2)
    ward.desk.broken.update(Lane)
    ward.desk.fakes[Lane.IMAGE].process.kill()
    await ward.desk.clock.advance(0)
    view = ward.health.health("wan")
    assert (view.status, view.problems) == ("degraded", ("the image lane is down",))
    await ward.desk.pass_time(2)
    restarting = ward.health.health("wan")
    assert (restarting.status, restarting.model_loaded) == ("degraded", False)
    await ward.desk.pass_time(LOAD_S)
    ward.desk.fakes[Lane.CHAT].process.kill()
    await ward.desk.clock.advance(0)
    assert ward.health.health("wan").status == "unhealthy"
    assert ward.health.health("wan").ready is False


async def test_a_worker_without_a_beat_is_dead_and_one_that_loads_is_not(ward: Ward) -> None:
    """H-12: no heartbeat for 120 s outside a declared load."""
    del ward.desk.workers[Lane.CHAT], ward.desk.workers[Lane.VIDEO]
    only = Ward(ward.desk)
    await ward.desk.pass_time(LOAD_S - 1)
    assert only.health.health("wan").status == "starting"
    await ward.desk.pass_time(3)
    ward.desk.fakes[Lane.IMAGE].pipe.reports.put_nowait(Beat(steps=1, rss_bytes=1))
    await ward.desk.clock.advance(0)
    ward.desk.clock.jump(SILENT_AFTER_S)
    assert only.health.health("wan").status == "healthy"
    ward.desk.clock.jump(1)
    assert only.health.health("wan").status == "unhealthy"


async def test_draining_says_so(ward: Ward) -> None:
    """H-12, O-6."""
    await ward.desk.pass_time(2 * LOAD_S + 2)
    ward.health.draining = True
    view = ward.health.health("wan")
    assert (view.status, view.ready, view.draining) == ("draining", False, True)


async def test_the_queue_and_the_callbacks_degrade(ward: Ward) -> None:
    """H-11, H-12: what cannot be reached or is refused is told in words; the depths stay."""
    await ward.desk.pass_time(2 * LOAD_S + 2)
    await ward.health.refresh()
    assert ward.health.depths()[Lane.IMAGE] == Depth(waiting=3, leased=1)
    ward.refused, ward.around.is_reachable = True, False
    await ward.health.refresh()
    view = ward.health.health("wan")
    assert view.status == "degraded"
    assert view.problems == (
        "the queue cannot be reached",
        "results cannot be stored",
        "callbacks are refused",
    )
    assert view.queue[Lane.IMAGE] == Depth(waiting=3, leased=1)
    assert ward.health.limits() == {"max_frames": 161}


async def test_the_snapshot_is_fresh_and_never_waits_for_anybody(ward: Ward) -> None:
    """H-10: at most 2 s old; a queue, a device or a lock that hangs holds up no answer."""
    keeping = asyncio.create_task(ward.health.keep_fresh())
    await ward.desk.pass_time(2 * LOAD_S + 2)
    ward.around.told = {Lane.IMAGE: Depth(waiting=9)}
    await ward.desk.pass_time(REFRESH_S)
    assert ward.health.health("wan").queue[Lane.IMAGE].waiting == 9
    ward.around.hangs = True
    await ward.desk.pass_time(2)
    async with ward.desk.broker.lock:
        assert ward.health.health("wan").status == "healthy"
    ward.health.count("requests_served")
    assert ward.health.health("wan").stats["requests_served"] == 1
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


async def test_a_lane_that_failed_for_good_is_retried_and_told(ward: Ward) -> None:
    """O-4: after more than five ends in ten minutes the lane is down for five minutes."""
    await ward.desk.pass_time(2 * LOAD_S + 2)
    ward.desk.broken.add(Lane.IMAGE)
    ward.desk.fakes[Lane.IMAGE].process.kill()
    await ward.desk.pass_time(FAILED_RETRY_S)
    view = ward.health.health("wan")
    assert view.workers[Lane.IMAGE]["state"] == "failed"
    assert view.status == "degraded"
