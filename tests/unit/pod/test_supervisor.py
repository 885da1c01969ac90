"""One worker of a lane, through its starts, ends, hangs and late attempts."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.unit.pod.fake_workers import FakeWorker

from ourvidz_worker.domain.errors import (
    Conflict,
    DeadlinePassed,
    ModelLoadFailed,
    Unavailable,
    WorkerLost,
)
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.messages import (
    Beat,
    Cancel,
    Drain,
    Failed,
    Finished,
    LoadFailed,
    Run,
    Stopped,
    Trim,
)
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import ChatRequest, Sampling
from ourvidz_worker.pod.link import DEADLINE_GRACE_S, WorkerLink
from ourvidz_worker.pod.supervisor import (
    FAILED_RETRY_S,
    SILENT_AFTER_S,
    STOP_WAIT_S,
    UNLOAD_WAIT_S,
    Supervisor,
)
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


async def test_an_unload_ends_the_process_and_a_load_starts_one_new_one(scene: Scene) -> None:
    """M-4, O-4: away means no process; never two live ones."""
    first = await scene.ready()
    unloading = asyncio.create_task(scene.supervisor.unload())
    await scene.clock.advance(0)
    assert first.pipe.sent == [Drain(grace_s=0.0)]
    assert scene.supervisor.state is WorkerState.DRAINING
    first.process.kill()
    await unloading
    await scene.clock.advance(FAILED_RETRY_S)
    assert (scene.supervisor.state, len(scene.workers)) == (WorkerState.STOPPED, 1)
    assert scene.supervisor.restarts == 0
    loading = asyncio.create_task(scene.supervisor.load())
    await scene.ready()
    await loading
    assert (scene.supervisor.state, len(scene.workers)) == (WorkerState.READY, 2)
    await scene.supervisor.load()
    assert len(scene.workers) == 2


async def test_an_unload_waits_for_running_work_and_takes_no_more(scene: Scene) -> None:
    """M-4: waits for running users."""
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    unloading = asyncio.create_task(scene.supervisor.unload())
    waiting = asyncio.create_task(scene.supervisor.slots.take(PriorityClass.NORMAL))
    await scene.clock.advance(UNLOAD_WAIT_S - 1)
    assert not waiting.done()
    assert not unloading.done()
    worker.pipe.reports.put_nowait(Finished(attempt_id="a", artifacts=(), receipt=Receipt()))
    await scene.clock.advance(0)
    assert (await running).attempt_id == "a"
    worker.process.kill()
    await unloading
    assert scene.supervisor.state is WorkerState.STOPPED
    waiting.cancel()


async def test_who_holds_a_slot_counts_as_a_user_before_the_work_begins(scene: Scene) -> None:
    """M-5: between its slot and its first step an attempt is not to be unloaded under."""
    worker = await scene.ready()
    slot = await scene.supervisor.slots.take(PriorityClass.NORMAL)
    assert scene.supervisor.busy
    with pytest.raises(Conflict):
        await scene.supervisor.unload(wait_s=0.0)
    unloading = asyncio.create_task(scene.supervisor.unload())
    await scene.clock.advance(1)
    assert worker.pipe.sent == []
    slot.release()
    await scene.clock.advance(0)
    worker.process.kill()
    await unloading
    assert scene.supervisor.state is WorkerState.STOPPED


async def test_an_unload_of_what_stays_in_use_is_a_conflict_and_changes_nothing(
    scene: Scene,
) -> None:
    """2.4: in use waits at most 60 s, then 409; the worker serves on."""
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    unloading = asyncio.create_task(scene.supervisor.unload())
    await scene.clock.advance(0)
    worker.pipe.reports.put_nowait(Beat(steps=1, rss_bytes=1))
    await scene.clock.advance(UNLOAD_WAIT_S)
    with pytest.raises(Conflict):
        await unloading
    assert scene.supervisor.state is WorkerState.READY
    assert await scene.supervisor.slots.take(PriorityClass.NORMAL)
    with pytest.raises(Conflict):
        await scene.supervisor.unload(wait_s=0.0)
    assert worker.pipe.sent[1:] == []
    running.cancel()


async def test_a_forced_unload_stops_the_work_which_goes_back_unburnt(scene: Scene) -> None:
    """2.4: `force` cancels users; whoever does not stop in time counts as stopped, not lost."""
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    unloading = asyncio.create_task(scene.supervisor.unload(force=True))
    await scene.clock.advance(0)
    assert worker.pipe.sent[-1] == Cancel(attempt_id="a", reason="draining")
    await scene.clock.advance(STOP_WAIT_S)
    assert await running == Stopped(attempt_id="a", reason="draining")
    await scene.clock.advance(STOP_WAIT_S)
    assert worker.process.ended.done()
    await unloading
    assert scene.supervisor.state is WorkerState.STOPPED


async def test_a_pod_that_stops_ends_its_workers_in_its_own_way(scene: Scene) -> None:
    """O-6: an unload that is under way lets the drain's grace count, and none begins any more."""
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    unloading = asyncio.create_task(scene.supervisor.unload())
    await scene.clock.advance(1)
    await scene.supervisor.stop(30.0)
    await scene.clock.advance(0)
    with pytest.raises(Unavailable):
        await unloading
    with pytest.raises(Unavailable):
        await scene.supervisor.unload(force=True)
    assert worker.pipe.sent[1:] == [Drain(grace_s=30.0)]
    assert not running.done()
    worker.pipe.reports.put_nowait(Finished(attempt_id="a", artifacts=(), receipt=Receipt()))
    assert await running
    worker.process.kill()
    await scene.task
    assert scene.supervisor.state is WorkerState.STOPPED


async def test_a_worker_that_dies_while_it_is_unloaded_is_not_started_again(scene: Scene) -> None:
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    unloading = asyncio.create_task(scene.supervisor.unload())
    await scene.clock.advance(0)
    worker.process.kill()
    await scene.clock.advance(0)
    await unloading
    with pytest.raises(WorkerLost):
        await running
    await scene.clock.advance(FAILED_RETRY_S)
    assert len(scene.workers) == 1


async def test_a_worker_that_loads_is_unloaded_at_once(scene: Scene) -> None:
    await scene.clock.advance(0)
    states = [scene.supervisor.state]
    await asyncio.create_task(scene.supervisor.unload())
    states.append(scene.supervisor.state)
    assert states == [WorkerState.STARTING, WorkerState.STOPPED]
    assert scene.workers[0].process.ended.done()


async def test_a_load_that_fails_says_so_with_its_process_ended(scene: Scene) -> None:
    """M-4: loads are transactional: a failure frees everything."""
    await scene.clock.advance(0)
    await asyncio.create_task(scene.supervisor.unload())
    loading = asyncio.create_task(scene.supervisor.load())
    await scene.clock.advance(0)
    worker = scene.workers[-1]
    worker.pipe.reports.put_nowait(LoadFailed(code="MODEL_LOAD_ERROR", sentence="no"))
    await scene.clock.advance(0)
    worker.process.kill()
    with pytest.raises(ModelLoadFailed):
        await loading
    assert scene.supervisor.state is WorkerState.BACKOFF
    again = asyncio.create_task(scene.supervisor.load())
    await scene.ready()
    await again
    assert len(scene.workers) == 3


async def test_a_worker_held_back_has_no_process_until_it_is_loaded() -> None:
    clock = FakeClock()
    started: list[FakeWorker] = []

    async def start(lane: Lane) -> WorkerLink:
        started.append(FakeWorker(clock))
        return started[-1].link

    supervisor = Supervisor(Lane.VIDEO, start, clock, jitter=lambda: 0, changed=lambda: None)
    supervisor.hold_back()
    serving = asyncio.create_task(supervisor.serve())
    await clock.advance(100)
    assert (started, supervisor.started.is_set()) == ([], True)
    loading = asyncio.create_task(supervisor.load())
    await clock.advance(0)
    await supervisor.stop(1.0)
    with pytest.raises(Unavailable):
        await loading
    started[0].process.kill()
    await serving
    assert supervisor.state is WorkerState.STOPPED


async def test_what_an_attempt_used_and_how_long_a_load_took_are_measured(scene: Scene) -> None:
    """M-2: measured peaks come from the workers' own receipts."""
    await scene.clock.advance(7.0)
    worker = await scene.ready()
    assert scene.supervisor.load_s == 7.0
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(3.0)
    end = Finished(attempt_id="a", artifacts=(), receipt=Receipt(peak_bytes=5))
    worker.pipe.reports.put_nowait(end)
    await running
    assert scene.supervisor.peak_bytes == 5
    assert scene.supervisor.used_at == scene.clock.now()


async def test_memory_is_asked_for_before_an_attempt_that_ran_out_of_it_ends(
    scene: Scene,
) -> None:
    """M-5: idle models are evicted before the one retry."""
    asked: list[Lane] = []

    async def relieve(lane: Lane) -> None:
        asked.append(lane)

    scene.supervisor.relieve = relieve
    worker = await scene.ready()
    running = asyncio.create_task(scene.supervisor.run(run_of(), lambda report: None))
    await scene.clock.advance(0)
    failed = Failed(attempt_id="a", code="OOM_ERROR", sentence="no", retryable=True)
    worker.pipe.reports.put_nowait(failed)
    assert await running == failed
    assert asked == [Lane.CHAT]
    assert worker.pipe.sent[-1] == Trim()
