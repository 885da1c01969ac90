"""The pod's half of a job's life: one settle on every path."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.unit.pod.scene import PICTURE, Scene

from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.messages import Cancel, Computed, Failed, Stopped
from ourvidz_worker.pod.delivery import WRITE_AGAIN_AFTER_S

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


async def test_a_job_is_run_stored_settled_and_told(scene: Scene) -> None:
    await scene.submit()
    _, task = await scene.begin()
    scene.finish(await scene.given())
    await task
    record = await scene.record()
    assert record.status is Status.COMPLETED
    assert [asset.key for asset in record.assets] == ["u/job/0.png"]
    assert [file.read_bytes() for file in scene.files()] == [PICTURE]
    assert record.facts["attempts"] == 1
    assert await scene.owed() == ["processing", "completed"]
    assert list(scene.spool.iterdir()) == []


async def test_the_slot_is_free_as_soon_as_the_device_is(scene: Scene) -> None:
    await scene.submit()
    delivery, task = await scene.begin()
    run = await scene.given()
    assert scene.supervisor.slots.taken == 1
    scene.player.pipe.reports.put_nowait(Computed(attempt_id=run.attempt_id))
    await scene.until(delivery.computed.is_set)
    assert scene.supervisor.slots.taken == 0
    scene.finish(run)
    await task
    assert (await scene.record()).status is Status.COMPLETED


async def test_a_failure_that_may_pass_is_tried_again_and_then_told(scene: Scene) -> None:
    await scene.submit()
    for tries in (1, 2):
        _, task = await scene.begin()
        run = await scene.given()
        failed = Failed(
            attempt_id=run.attempt_id, code="GENERATION_ERROR", sentence="No.", retryable=True
        )
        scene.player.pipe.sent.clear()
        scene.player.pipe.reports.put_nowait(failed)
        await task
        expected = Status.WAITING if tries == 1 else Status.FAILED
        assert (await scene.record()).status is expected
        await scene.clock.advance(1)
    assert (await scene.record()).code == "GENERATION_ERROR"
    assert await scene.owed() == ["processing", "failed"]


async def test_both_tries_are_given_the_same_seed(scene: Scene) -> None:
    await scene.submit()
    seeds = []
    for _ in range(2):
        _, task = await scene.begin()
        run = await scene.given()
        seeds.append(run.seed)
        scene.player.pipe.sent.clear()
        scene.player.pipe.reports.put_nowait(
            Failed(attempt_id=run.attempt_id, code="OOM_ERROR", sentence="No.", retryable=True)
        )
        await task
        await scene.clock.advance(1)
    assert seeds[0] == seeds[1] >= 1


async def test_the_callers_seed_is_used_zero_too(scene: Scene) -> None:
    await scene.submit(config={"seed": 0})
    _, task = await scene.begin()
    run = await scene.given()
    scene.finish(run)
    await task
    assert run.seed == 0


async def test_a_cancel_stops_the_run_and_owes_nothing_more(scene: Scene) -> None:
    await scene.submit()
    delivery, task = await scene.begin()
    run = await scene.given()
    await delivery.stop("cancelled")
    assert scene.sent(Cancel) == [Cancel(attempt_id=run.attempt_id)]
    scene.player.pipe.reports.put_nowait(Stopped(attempt_id=run.attempt_id, reason="cancelled"))
    await task
    assert (await scene.record()).status is Status.CANCELLED
    assert scene.files() == []


async def test_a_cancel_after_the_run_takes_the_files_back(scene: Scene) -> None:
    await scene.submit()
    delivery, task = await scene.begin()
    run = await scene.given()
    scene.finish(run)
    await delivery.stop("cancelled")
    await task
    assert (await scene.record()).status is Status.CANCELLED
    assert scene.files() == []


async def test_a_job_that_waits_for_its_slot_stops_at_once(scene: Scene) -> None:
    await scene.submit()
    await scene.submit(id="next")
    _, first = await scene.begin()
    run = await scene.given()
    waiting, second = await scene.begin()
    await scene.until(lambda: scene.supervisor.slots.waiting == 1)
    await waiting.stop("draining")
    await second
    again = await scene.record("next")
    assert (again.status, again.tries) == (Status.WAITING, 0)
    scene.finish(run)
    await first


async def test_a_lost_lease_ends_in_silence(scene: Scene) -> None:
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    await scene.clock.advance(61)
    await scene.queue.sweep()
    scene.finish(run)
    await task
    assert (await scene.record()).status is Status.WAITING


async def test_a_worker_that_dies_gives_the_job_another_try(scene: Scene) -> None:
    await scene.submit()
    _, task = await scene.begin()
    await scene.given()
    scene.player.process.kill()
    await task
    record = await scene.record()
    assert (record.status, record.tries) == (Status.WAITING, 1)


async def test_a_job_that_kills_its_worker_each_time_fails_and_is_buried(scene: Scene) -> None:
    await scene.submit()
    for _ in range(3):
        _, task = await scene.begin()
        await scene.given()
        scene.player.process.kill()
        await task
        await scene.clock.advance(10)
        scene.player.get_ready()
        await scene.clock.advance(1)
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, "WORKER_UNAVAILABLE")
    assert [letter.job_id for letter in await scene.queue.dead()] == ["job"]


async def test_a_reference_that_is_not_there_never_reaches_the_worker(scene: Scene) -> None:
    await scene.submit(metadata={"reference_image_url": "user-library/u/none.png"})
    _, task = await scene.begin()
    await task
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, "REFERENCE_FRAME_ERROR")
    assert record.facts["error_reason"] == "REFERENCE_NOT_FOUND"
    assert scene.runs() == []


async def test_watchers_see_the_milestones_in_order(scene: Scene) -> None:
    await scene.submit()
    _, task = await scene.begin()
    scene.finish(await scene.given())
    await task
    seen = [event async for event in scene.hub.watch("job", after=0, ended=True)]
    assert [event.kind.value for event in seen] == ["started", "completed"]
    assert [event.seq for event in seen] == sorted({event.seq for event in seen})


async def test_a_live_watcher_is_told_and_let_go_at_the_end(scene: Scene) -> None:
    await scene.submit()
    seen: list[str] = []

    async def watch() -> None:
        async for event in scene.hub.watch("job", after=0, ended=False):
            seen.append(event.kind.value)

    watching = asyncio.create_task(watch())
    _, task = await scene.begin()
    scene.finish(await scene.given())
    await task
    await watching
    assert seen == ["started", "completed"]


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ("memory_status", '{"workers":{"image":"ready"}}'),
        ("memory_report", '"host_memory":3'),
        ("worker_info", '"models_loaded":{}'),
        ("health", '"waiting":2'),
        ("enhancement_info", '"qwen_base"'),
    ],
)
async def test_a_question_about_the_pod_is_answered_without_a_worker(
    scene: Scene, operation: str, part: str
) -> None:
    await scene.submit(type="admin_utilities", config={"operation": operation})
    _, task = await scene.begin()
    await task
    record = await scene.record()
    assert record.status is Status.COMPLETED
    assert part in (record.assets[0].text or "")
    assert isinstance(record.facts["result"], dict)
    assert scene.runs() == []


async def test_a_queue_that_cannot_be_written_keeps_the_result_until_it_can(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.submit()
    _, task = await scene.begin()
    run = await scene.given()
    fail_at_first(monkeypatch, scene, "settle")
    asleep = scene.clock.sleepers()
    scene.finish(run)
    await scene.until(lambda: scene.clock.sleepers() > asleep)
    assert (await scene.record()).status is Status.LEASED
    assert [folder.name for folder in scene.spool.iterdir()] == [run.attempt_id]
    await scene.clock.advance(WRITE_AGAIN_AFTER_S)
    await task
    assert (await scene.record()).status is Status.COMPLETED


@pytest.mark.parametrize("verb", ["start", "requeue"])
async def test_a_queue_that_cannot_be_written_before_the_run_costs_no_try(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    await scene.submit()
    fail_at_first(monkeypatch, scene, "start", "requeue" if verb == "requeue" else "")
    _, task = await scene.begin()
    while not task.done():
        await scene.clock.advance(WRITE_AGAIN_AFTER_S / 2)
    record = await scene.record()
    assert (record.status, record.tries) == (Status.WAITING, 0)


class Flaky:
    """A verb of the queue that cannot write the first time."""

    def __init__(self, real: Callable[..., Awaitable[object]]) -> None:
        self._real = real
        self._failed = False

    async def __call__(self, *args: object, **options: object) -> object:
        if not self._failed:
            self._failed = True
            raise QueueUnavailable
        return await self._real(*args, **options)


def fail_at_first(monkeypatch: pytest.MonkeyPatch, scene: Scene, *verbs: str) -> None:
    """Have each verb of the queue fail once before it works."""
    for verb in filter(None, verbs):
        monkeypatch.setattr(scene.queue, verb, Flaky(getattr(scene.queue, verb)))
