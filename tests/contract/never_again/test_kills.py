"""Whatever is killed, no job is lost and no process is left (lines 5, 9 and 36)."""

import os
import signal
from collections.abc import Iterator

import psutil
import pytest
from tests.contract.never_again.worlds import (
    KINDS,
    Deployed,
    World,
    records,
    seed,
    until,
    workers_of,
    world_of,
)

from ourvidz_worker.testing.pod_process import PodProcess
from ourvidz_worker.testing.supabase import Fault
from ourvidz_worker.testing.supabase.payloads import Payload, chat, text_to_image, video

pytestmark = pytest.mark.e2e

END_S = 10.0
LANES = ("image", "video", "chat")
STEPS: Payload = {"num_inference_steps": 20, "sample_steps": 20, "max_tokens": 20}
LONG_TALK = 2
"""A seed with which the fake engine says all 20 words that it may."""

SLOW = '{"steps_s": 0.03}'
SETTINGS = {"OURVIDZ_FAKE_OPTIONS": SLOW, "LEASE_TTL_S": "3"}
PICTURES = {**SETTINGS, "OURVIDZ_LANES": "image"}


@pytest.fixture(scope="module", params=KINDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Each of the two worlds; most tests have a pod of their own."""
    with world_of(request.param, tmp_path_factory.mktemp("kills")) as made:
        yield made
        made.mend()


Survivor = tuple[PodProcess, list[str], set[int]]

beside = pytest.mark.parametrize("world", ["deployed"], indirect=True)
"""A folder does not keep anybody waiting."""


def hand_in_two(world: World) -> list[str]:
    """Two pictures."""
    return [world.hand_in(text_to_image(seed(config=STEPS))) for _ in range(2)]


def hand_in_all(world: World) -> list[str]:
    """One job for each lane, each of more than half a second."""
    builders = (text_to_image, video, chat)
    return [world.hand_in(build(seed(seed=LONG_TALK, config=STEPS))) for build in builders]


def check_done(world: World, jobs: list[str]) -> None:
    """Assert that every job completes, and that one callback tells so, the last of the job."""
    for job in jobs:
        assert world.end_of(job).body["status"] == "completed"
    for job in jobs:
        statuses = world.statuses(job)
        assert set(statuses[:-1]) <= {"processing"}
        assert statuses[-1] == "completed"
    if isinstance(world, Deployed):
        assert world.application.complaints() == []


def kill_pod(pod: PodProcess) -> None:
    """SIGKILL the pod alone, and assert that its workers end with it (O-5)."""
    family = psutil.Process(pod.pid).children(recursive=True)
    assert family
    os.kill(pod.pid, signal.SIGKILL)
    pod.stop()
    _, alive = psutil.wait_procs(family, timeout=END_S)
    assert alive == []


@pytest.fixture(scope="module")
def survivor(world: World) -> Iterator[Survivor]:
    """A pod whose workers were all killed at work; its jobs, and the processes that are gone."""
    slower = {**SETTINGS, "OURVIDZ_FAKE_OPTIONS": '{"steps_s": 0.1}'}
    with world.running("survivor", **slower) as pod:
        jobs = hand_in_all(world)
        until(lambda: all(world.statuses(job) for job in jobs))
        killed = workers_of(pod)
        for worker in killed:
            worker.kill()
        check_done(world, jobs)
        yield pod, jobs, {worker.pid for worker in killed}


def test_05_workers_killed_at_work(world: World, survivor: Survivor) -> None:
    """Q-5..7: all three at once; each job was done by a second try."""
    _, jobs, killed = survivor
    assert len(killed) == len(jobs)
    for job in jobs:
        assert world.end_of(job).body["metadata"]["attempts"] == 2


def test_36_a_crashed_worker_is_restarted_once_and_a_stop_leaves_nothing(
    world: World, survivor: Survivor
) -> None:
    """O-4, O-5: one new process for each crash; a drained pod exits 0 with no process left."""
    pod, _, killed = survivor
    check_done(world, hand_in_all(world))
    started = [record["lane"] for record in records(pod, "worker_started")]
    assert sorted(started) == sorted(2 * LANES)
    assert [len(workers_of(pod, lane)) for lane in LANES] == [1, 1, 1]
    assert not killed & {worker.pid for worker in workers_of(pod)}
    family = psutil.Process(pod.pid).children(recursive=True)
    assert pod.stop() == 0
    _, alive = psutil.wait_procs(family, timeout=END_S)
    assert alive == []


def test_05_the_pod_killed_at_work(world: World) -> None:
    """Q-5..7: running jobs and one that waits are all done by the pod's next life."""
    with world.running("pod-kill", **SETTINGS) as pod:
        jobs = [*hand_in_all(world), *hand_in_all(world)]
        until(lambda: all(world.statuses(job) for job in jobs[:3]))
        kill_pod(pod)
    with world.running("pod-kill", **SETTINGS):
        check_done(world, jobs)


@beside
def test_05_the_pod_killed_while_it_uploads(world: Deployed) -> None:
    """Q-5..7, U-3: nothing was told of the end, so the job is done again under the same keys."""
    with world.running("upload-kill", **PICTURES) as pod:
        world.application.add_fault(Fault(call="storage.put", how="hang", times=None))
        jobs = hand_in_two(world)
        until(lambda: all(world.was_refused(job, "0.") for job in jobs))
        kill_pod(pod)
    world.mend()
    with world.running("upload-kill", **PICTURES):
        check_done(world, jobs)
    for job in jobs:
        assert len(world.files(job)) == 2


def test_09_results_survive_a_restart_before_they_are_told(world: World) -> None:
    """K-11: done before the kill, told after it, with the bytes of before; nothing is made anew."""
    with world.running("told-late", **PICTURES) as pod:
        world.break_callbacks(hang=isinstance(world, Deployed))
        jobs = hand_in_two(world)
        until(lambda: len(records(pod, "job_settled")) == len(jobs))
        files = {job: world.files(job) for job in jobs}
        kill_pod(pod)
    assert not any(world.statuses(job) for job in jobs)
    world.mend()
    with world.running("told-late", **PICTURES) as pod:
        check_done(world, jobs)
        assert records(pod, "job_started") == []
        (begun,) = records(pod, "pod_started")
    for job in jobs:
        assert world.files(job) == files[job]
        assert world.end_of(job).body["completedAt"] < begun["time"], "the bytes of before"


def test_05_a_job_that_kills_every_worker_is_reported(world: World) -> None:
    """Q-7: after its tries the job fails; in the lists there is a letter of it."""
    options = '{"steps_s": 0.01, "crash_at_step": 2}'
    settings = {"OURVIDZ_FAKE_OPTIONS": options, "OURVIDZ_LANES": "image", "MAX_JOB_ATTEMPTS": "2"}
    with world.pod("crash", **settings) as pod:
        until(lambda: records(pod, "worker_ready"))
        job = world.hand_in(text_to_image(seed()))
        end = world.end_of(job).body
        assert (end["status"], end["metadata"]["error_code"]) == ("failed", "WORKER_UNAVAILABLE")
        assert end["metadata"]["attempts"] == 2
        assert world.files(job) == []
    if isinstance(world, Deployed):
        with world.world.redis.client() as client:
            letters = client.lrange("sdxl_queue:dead", 0, -1)
        assert isinstance(letters, list)
        assert [letter for letter in letters if job.encode() in letter]
