"""One worker of a lane, through its starts, ends, hangs and late attempts."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.pod.fake_workers import FakeWorker

from ourvidz_worker.domain.errors import DeadlinePassed, ModelLoadFailed, WorkerLost
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.messages import Beat, Drain, Finished, Run
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import ChatRequest, Sampling
from ourvidz_worker.pod.link import DEADLINE_GRACE_S, WorkerLink
from ourvidz_worker.pod.supervisor import FAILED_RETRY_S, SILENT_AFTER_S, Supervisor
from ourvidz_worker.pod.worker_state import WORKER_MOVES, WorkerState
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

REQUEST = ChatRequest(job_type="chat_conversation", sampling=Sampling(), text="a")


def run_of(attempt_id: str = "a", deadline_s: float = 90.0) -> Run:
    return Run(
        attempt_id=attempt_id,
        job_id=attempt_id,
        request=REQUEST,
        seed=1,
        spool="/nowhere",
        deadline_s=deadline_s,
    )


class Scene:
    """A supervisor on a fake clock, and every worker it started."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.workers: list[FakeWorker] = []
        self.supervisor = Supervisor(
            Lane.CHAT, self.start, self.clock, jitter=lambda: 0.5, changed=lambda: None
        )
        self.task = asyncio.create_task(self.supervisor.serve())

    async def start(self, lane: Lane) -> WorkerLink:
        self.workers.append(FakeWorker(self.clock))
        return self.workers[-1].link

    async def ready(self) -> FakeWorker:
        await self.clock.advance(0)
        self.workers[-1].get_ready()
        await self.clock.advance(0)
        return self.workers[-1]


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    made = Scene()
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_it_opens_its_slots_when_the_worker_is_ready(scene: Scene) -> None:
    await scene.clock.advance(0)
    states = [scene.supervisor.state]
    await scene.ready()
    states.append(scene.supervisor.state)
    assert states == [WorkerState.STARTING, WorkerState.READY]
    assert await scene.supervisor.slots.take(PriorityClass.NORMAL)


async def test_an_outcome_goes_to_its_attempt(scene: Scene) -> None:
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    end = Finished(attempt_id="a", artifacts=(), receipt=Receipt())
    worker.pipe.reports.put_nowait(end)
    assert await running == end


async def test_an_end_loses_the_attempts_and_one_new_worker_is_started(scene: Scene) -> None:
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    worker.process.kill()
    with pytest.raises(WorkerLost):
        await running
    assert scene.supervisor.state is WorkerState.BACKOFF
    await scene.clock.advance(0.9)
    assert len(scene.workers) == 1
    await scene.clock.advance(0.2)
    assert len(scene.workers) == 2


async def test_an_outcome_sent_just_before_the_end_still_counts(scene: Scene) -> None:
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    end = Finished(attempt_id="a", artifacts=(), receipt=Receipt())
    worker.process.kill()
    worker.pipe.reports.put_nowait(end)
    assert await running == end


async def test_six_ends_in_ten_minutes_close_the_lane_for_a_while(scene: Scene) -> None:
    waiting = asyncio.create_task(scene.supervisor.slots.take(PriorityClass.NORMAL))
    for _ in range(6):
        await scene.clock.advance(0)
        scene.workers[-1].process.kill()
        await scene.clock.advance(61)
    assert scene.supervisor.state is WorkerState.FAILED
    with pytest.raises(ModelLoadFailed):
        await waiting
    with pytest.raises(ModelLoadFailed):
        await scene.supervisor.run(run_of(), lambda report: None)
    await scene.clock.advance(FAILED_RETRY_S)
    assert len(scene.workers) == 7


async def test_a_late_attempt_ends_with_its_worker(scene: Scene) -> None:
    await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(deadline_s=5.0), lambda report: None))
    await scene.clock.advance(5.0 + DEADLINE_GRACE_S - 1)
    assert not running.done()
    await scene.clock.advance(3.0)
    with pytest.raises(DeadlinePassed):
        await running


async def test_a_silent_worker_is_killed_and_one_that_beats_is_not(scene: Scene) -> None:
    worker = await scene.ready()
    await scene.clock.advance(SILENT_AFTER_S - 2)
    worker.pipe.reports.put_nowait(Beat(steps=1, rss_bytes=1))
    await scene.clock.advance(SILENT_AFTER_S - 2)
    assert not worker.process.ended.done()
    await scene.clock.advance(4)
    assert worker.process.ended.done()


async def test_stopping_drains_and_starts_nothing_more(scene: Scene) -> None:
    worker = await scene.ready()
    await scene.supervisor.stop(7.0)
    assert worker.pipe.sent == [Drain(grace_s=7.0)]
    worker.process.kill()
    await scene.task
    assert scene.supervisor.state is WorkerState.STOPPED
    assert len(scene.workers) == 1


@pytest.mark.parametrize("state", list(WorkerState))
def test_every_state_leads_somewhere_and_none_to_itself(state: WorkerState) -> None:
    assert WORKER_MOVES[state]
    assert state not in WORKER_MOVES[state]
