"""What is leased, when nothing is, and what becomes of a lane that cannot be had."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import pairwise
from pathlib import Path

import pytest
from tests.unit.pod.scene import Scene

from ourvidz_worker.domain.errors import ConfigError, QueueUnavailable
from ourvidz_worker.domain.job import Job, Lease, Status
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import LoadFailed
from ourvidz_worker.domain.request import Request
from ourvidz_worker.pod.backoff import Backoff
from ourvidz_worker.pod.breaker import OPEN_S
from ourvidz_worker.pod.dispatcher import IDLE_LOOK_S, Dispatcher, Leasing
from ourvidz_worker.pod.worker_state import WorkerState
from ourvidz_worker.rows import RowState

pytestmark = pytest.mark.anyio


class Pod:
    """A scene with a dispatcher that runs."""

    def __init__(self, scene: Scene, *, lane: Lane = Lane.IMAGE, **options: object) -> None:
        self.scene = scene
        self.counted: list[str] = []
        self.failed_at: list[float] = []
        self.news = asyncio.Event()
        leasing = Leasing(owner="pod", ttl_s=60.0, jitter=lambda: 1.0, **options)  # type: ignore[arg-type]
        self.dispatcher = Dispatcher(
            {lane: scene.supervisor},
            scene.ports,
            leasing,
            count=self.counted.append,
            news=self.news,
        )
        self._tasks = [
            asyncio.create_task(work)
            for work in (
                self.dispatcher.run(),
                self.dispatcher.keep_leases(),
                self.dispatcher.watch_rows(),
            )
        ]

    async def close(self) -> None:
        """End everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settle(self, true: Callable[[], bool]) -> None:
        """Let the pod run until something is true; its clock moves on by seconds."""
        for _ in range(100):
            for _ in range(20):
                if true():
                    return
                await self.scene.work_done()
            await self.scene.clock.advance(1)
        raise AssertionError("it never came true")

    async def fail_all(self, code: str) -> None:
        """Have the worker fail whatever it is given, until the pod holds no job."""

        def is_idle() -> bool:
            for run in self.scene.runs():
                self.scene.fail(run, code)
                self.failed_at.append(self.scene.clock.monotonic())
            return self.dispatcher.held == 0

        await self.settle(is_idle)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


async def waiting(scene: Scene, lane: Lane = Lane.IMAGE) -> int:
    return (await scene.queue.depths())[lane].waiting


async def submit_other(scene: Scene, kind: str, job_id: str, payload: bytes | None = None) -> None:
    row = JOB_TYPES[kind]
    text = f'{{"id":"{job_id}","user_id":"u","type":"{kind}","prompt":"p"}}'
    await scene.queue.submit(
        Job(
            id=job_id,
            type=kind,
            user_id="u",
            lane=row.lane,
            priority=row.priority,
            payload=payload or text.encode(),
            submitted_at=scene.clock.now(),
        )
    )


@pytest.mark.parametrize(("ahead", "left"), [(0, 5), (1, 4), (4, 1)])
async def test_jobs_are_leased_ahead_as_configured(scene: Scene, ahead: int, left: int) -> None:
    """Q-9: at most 4 ahead of the one that runs; `LLEN` stays meaningful."""
    for number in range(6):
        await scene.submit(id=f"job-{number}")
    pod = Pod(scene, ahead=ahead)
    await scene.given()
    await pod.settle(lambda: pod.dispatcher.held == 1 + ahead)
    assert await waiting(scene) == left
    await pod.close()


@pytest.mark.parametrize("ahead", [-1, 5])
async def test_more_ahead_than_the_contract_allows_is_refused(ahead: int) -> None:
    """Q-9: at most 4 a lane."""
    with pytest.raises(ConfigError):
        Leasing(owner="pod", ttl_s=60.0, ahead=ahead)


async def test_nothing_is_leased_unless_everybody_agrees(scene: Scene) -> None:
    """Q-8: nothing is claimed unless the lane can run it now."""
    allowed = [False]
    await scene.submit()
    pod = Pod(scene, may_lease=(lambda lane: True, lambda lane: allowed[0]))
    await scene.clock.advance(30)
    assert (pod.dispatcher.held, await waiting(scene)) == (0, 1)
    allowed[0] = True
    pod.dispatcher.look()
    await scene.given()
    assert pod.dispatcher.held == 1
    await pod.close()


async def test_a_lane_that_fails_three_times_is_left_alone_for_a_minute(scene: Scene) -> None:
    """Q-8: open for 60 s; the failed jobs wait, unburnt."""
    for name in ("a", "b", "c"):
        await scene.submit(id=name)
    pod = Pod(scene)
    await pod.settle(lambda: bool(scene.runs()))
    await pod.fail_all("MODEL_LOAD_ERROR")
    records = [await scene.record(name) for name in ("a", "b", "c")]
    assert {record.status for record in records} == {Status.WAITING}
    assert [record.tries for record in records] == [0, 0, 0]
    await pod.settle(lambda: bool(scene.runs()))
    rested = scene.clock.monotonic() - pod.failed_at[2]
    assert OPEN_S <= rested <= OPEN_S + IDLE_LOOK_S + 1
    await pod.close()


async def test_a_users_jobs_begin_in_order_however_long_they_are_prepared(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q-1, Q-9: first in, first out, within a user."""
    slow = asyncio.Event()
    prepare = scene.ports.preparation.admit

    async def admit(request: Request) -> None:
        if getattr(request, "prompt", "") == "slow":
            await slow.wait()
        await prepare(request)

    scene.prepare_with(admit=admit)
    await scene.submit(id="first", prompt="slow")
    await scene.submit(id="second")
    pod = Pod(scene)
    await pod.settle(lambda: pod.dispatcher.held == 2)
    await scene.clock.advance(10)
    assert scene.runs() == []
    slow.set()
    assert (await scene.given()).job_id == "first"
    await pod.close()


async def test_a_worker_that_cannot_be_had_fails_what_waits_only_after_three_openings(
    scene: Scene,
) -> None:
    """Q-8: jobs neither fail at once nor stay queued for ever."""
    for _ in range(7):
        scene.player.process.kill()
        await scene.clock.advance(61)
        await scene.until(lambda: True)
    await scene.submit()
    pod = Pod(scene)
    await scene.clock.advance(100)
    assert (await scene.record()).status is Status.WAITING
    found: list[Status] = []

    async def look() -> None:
        found.append((await scene.record()).status)

    for _ in range(100):
        await scene.clock.advance(1)
        await look()
        if found[-1] is Status.FAILED:
            break
    await scene.until(lambda: pod.counted == ["jobs_failed"])
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, "MODEL_LOAD_ERROR")
    await pod.close()


async def test_a_queue_that_is_away_is_asked_seldom(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q-2: an error is never "no job"; back off 1 to 30 s."""
    asked: list[float] = []

    async def away(*args: object) -> list[object]:
        asked.append(scene.clock.monotonic())
        raise QueueUnavailable

    monkeypatch.setattr(scene.queue, "lease", away)
    pod = Pod(scene)
    await scene.clock.advance(130)
    waits = [later - earlier for earlier, later in pairwise(asked)]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 30, 30, 30])
    await pod.close()


def test_waits_double_to_half_a_minute_and_begin_anew() -> None:
    """Q-2: 1 to 30 s, with jitter."""
    backoff = Backoff(lambda: 0.0)
    waits = [backoff.next_s() for _ in range(8)]
    assert waits == pytest.approx([0.75, 1.5, 3, 6, 12, 22.5, 22.5, 22.5])
    backoff.reset()
    assert backoff.next_s() == 0.75


async def test_a_question_about_the_pod_needs_no_chat_model(scene: Scene) -> None:
    """J-2: this pod serves the image lane alone, and answers all the same."""
    await submit_other(scene, "admin_utilities", "question")
    pod = Pod(scene)
    await scene.until(lambda: bool(pod.counted))
    record = await scene.record("question")
    assert record.status is Status.COMPLETED
    assert isinstance(record.facts["result"], dict)
    assert record.facts["processing_time"] < 1.0
    await pod.close()


@pytest.mark.parametrize("why", ["away", "failed"])
async def test_a_question_about_the_pod_does_not_wait_for_the_chat_model(
    scene: Scene, why: str
) -> None:
    """J-2: with the chat worker unloaded or ended, talk waits and questions do not."""
    await submit_other(scene, "chat_enhance", "talk")
    if why == "failed":
        scene.player.process.ended.set_result(3)
        await scene.until(lambda: scene.supervisor.state is not WorkerState.READY)
    pod = Pod(scene, lane=Lane.CHAT, may_lease=(lambda lane: why != "away",))
    await submit_other(scene, "admin_utilities", "question")
    await scene.until(lambda: bool(pod.counted))
    assert (await scene.record("question")).status is Status.COMPLETED
    talk = await scene.record("talk")
    assert (talk.status, talk.tries) == (Status.WAITING, 0)
    await pod.close()


async def test_questions_take_no_room_from_a_lane(scene: Scene) -> None:
    """J-2: they are answered beside a worker that is full."""
    for number in range(4):
        await scene.submit(id=f"job-{number}")
    pod = Pod(scene)
    await scene.given()
    for number in range(9):
        await submit_other(scene, "admin_utilities", f"question-{number}")
    await scene.until(lambda: len(pod.counted) == 9)
    assert len(scene.runs()) == 1
    assert pod.dispatcher.held == 2
    await pod.close()


async def test_a_job_of_a_lane_that_is_not_served_is_not_taken(scene: Scene) -> None:
    """Q-9: it waits for a pod that can run it, and nobody is told of work that never began."""
    await submit_other(scene, "chat_enhance", "talk")
    await submit_other(scene, "admin_utilities", "question")
    pod = Pod(scene)
    await scene.until(lambda: bool(pod.counted))
    record = await scene.record("talk")
    assert (record.status, record.tries) == (Status.WAITING, 0)
    assert await waiting(scene, Lane.CHAT) == 1
    await pod.close()


async def test_a_row_cancelled_by_its_user_stops_the_job(scene: Scene) -> None:
    """K-20: through the dispatcher's own watch."""
    await scene.submit()
    await scene.submit(id="next")
    pod = Pod(scene, ahead=1)
    await scene.given()
    await scene.until(lambda: scene.supervisor.slots.waiting == 1)
    scene.rows.states["next"] = RowState.CANCELLED
    await scene.clock.advance(5)
    await scene.until(lambda: pod.dispatcher.held == 1)
    assert (await scene.record("next")).status is Status.CANCELLED
    await pod.close()


async def test_what_is_leased_as_the_drain_begins_goes_back(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O-6: also a lease that was under way."""
    await scene.submit()
    asked, answered = asyncio.Event(), asyncio.Event()
    lease = scene.queue.lease

    async def slow(owner: str, wanted: Mapping[Lane, int], ttl_s: float) -> list[Lease]:
        found = await lease(owner, wanted, ttl_s)
        asked.set()
        await answered.wait()
        return found

    monkeypatch.setattr(scene.queue, "lease", slow)
    pod = Pod(scene)
    await asked.wait()
    draining = asyncio.create_task(pod.dispatcher.drain(30.0))
    await scene.clock.advance(0)
    assert not draining.done()
    answered.set()
    await draining
    record = await scene.record()
    assert (record.status, record.tries) == (Status.WAITING, 0)
    assert await scene.owed() == []
    await pod.close()


async def test_a_drain_does_not_wait_for_a_queue_that_is_away(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """O-6: the back-off ends with the drain."""

    async def away(*args: object) -> list[object]:
        raise QueueUnavailable

    monkeypatch.setattr(scene.queue, "lease", away)
    pod = Pod(scene)
    await scene.clock.advance(20)
    await pod.dispatcher.drain(30.0)
    assert pod.dispatcher.held == 0
    await pod.close()


async def test_a_drain_gives_back_what_has_not_begun(scene: Scene) -> None:
    """O-6: to the left, without a callback; what runs may end."""
    await scene.submit()
    await scene.submit(id="next")
    pod = Pod(scene)
    run = await scene.given()
    await scene.until(lambda: scene.supervisor.slots.waiting == 1)
    draining = asyncio.create_task(pod.dispatcher.drain(30.0))
    await scene.until(lambda: pod.dispatcher.held == 1)
    scene.finish(run)
    await draining
    assert (await scene.record()).status is Status.COMPLETED
    again = await scene.record("next")
    assert (again.status, again.tries) == (Status.WAITING, 0)
    assert await scene.owed() == ["processing", "completed"]
    await pod.close()


async def test_a_model_that_loads_at_last_serves_at_once(scene: Scene) -> None:
    """Q-8: load failures open the lane, and a load that works closes it."""
    await scene.submit()
    pod = Pod(scene)
    run = await scene.given()
    for _ in range(4):
        scene.report(LoadFailed(code="MODEL_LOAD_ERROR", sentence="No such file."))
        await scene.work_done()
        scene.player.process.ended.set_result(3)
        before = scene.player
        await pod.settle(lambda before=before: scene.player is not before)  # type: ignore[misc]
    assert scene.runs() == []
    scene.player.get_ready()
    await scene.until(lambda: scene.supervisor.state is WorkerState.READY)
    pod.dispatcher.look()
    await scene.until(lambda: bool(scene.runs()))
    again = scene.runs()[-1]
    assert (again.job_id, again.seed) == (run.job_id, run.seed)
    await pod.close()
