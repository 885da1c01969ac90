"""Stopping: a job, by its caller; the pod, by a signal. Nothing is left behind."""

import os
import signal
from pathlib import Path

import psutil
import pytest
from tests.e2e.pods import END_TIMEOUT_S, Pod, Sink
from tests.e2e.waiting import until

from ourvidz_worker.domain.event import EventKind

pytestmark = pytest.mark.e2e


def files_below(folder: Path) -> list[Path]:
    """Every file at any depth; none when the folder is not there."""
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("job_type", ["sdxl_image_fast", "video_fast", "chat_conversation"])
def test_cancelling_a_running_job_stops_it_at_its_next_step(
    fake_pod: Pod, sink: Sink, job_type: str
) -> None:
    fake_pod.start()
    with fake_pod.client() as client:
        job = client.submit(job_type, "a red apple")
        seen = []
        for event in client.events(job.job_id):
            seen.append(event)
            if len(seen) == 5:
                client.cancel(job.job_id)
        kinds = [event.kind for event in seen]
        after = [kind for kind in kinds[5:] if kind != EventKind.PREVIEW]
        assert after[-1] == EventKind.CANCELLED
        assert len(after) <= 3
        assert client.job(job.job_id).status == "cancelled"
        assert client.wait(client.submit(job_type, "the next").job_id).status == "completed"
    stored = files_below(fake_pod.state / "storage")
    assert not [file for file in stored if job.job_id in file.parts]
    spool = fake_pod.state / "spool"
    # The caller hears of the end before the attempt's own folder is gone.
    until(lambda: not files_below(spool), within_s=END_TIMEOUT_S)
    assert files_below(spool) == []


def test_cancelling_a_waiting_job_ends_it_at_once(fake_pod: Pod, sink: Sink) -> None:
    fake_pod.start()
    with fake_pod.client() as client:
        jobs = [client.submit("video_fast", "a cat", user_id="one") for _ in range(4)]
        client.cancel(jobs[-1].job_id)
        assert client.job(jobs[-1].job_id).status == "cancelled"
        assert [client.wait(job.job_id).status for job in jobs[:-1]] == ["completed"] * 3


def test_sigterm_drains_and_leaves_no_process(fake_pod: Pod, sink: Sink) -> None:
    fake_pod.start()
    with fake_pod.client() as client:
        short = client.submit("sdxl_image_fast", "a red apple")
        waiting = [client.submit("video_fast", "a cat") for _ in range(3)]
        next(event for event in client.events(short.job_id) if event.kind == EventKind.PROGRESS)
    family = fake_pod.family()
    assert len(family) == 3
    assert fake_pod.terminate() == 0
    _, alive = psutil.wait_procs(family, timeout=0)
    assert alive == []
    fake_pod.start()
    with fake_pod.client() as client:
        done = [client.wait(job.job_id) for job in (short, *waiting)]
    assert [view.status for view in done] == ["completed"] * 4
    for job in (short, *waiting):
        assert sink.statuses(job.job_id) == ["processing", "completed"]


def test_a_job_longer_than_the_drain_goes_back_without_a_burnt_try(tmp_path: Path) -> None:
    slow = {"OURVIDZ_LANES": "video", "OURVIDZ_VIDEO_ENGINE": "fake", "DRAIN_TIMEOUT_S": "2"}
    pod = Pod(tmp_path / "state", OURVIDZ_FAKE_OPTIONS='{"steps_s": 0.5}', **slow)
    try:
        pod.start(ready=1)
        with pod.client() as client:
            job = client.submit("video_fast", "a cat")
            next(event for event in client.events(job.job_id) if event.kind == EventKind.PROGRESS)
        assert pod.terminate() == 0
        pod = Pod(pod.state, OURVIDZ_FAKE_OPTIONS='{"steps_s": 0.01}', **slow)
        pod.start(ready=1)
        with pod.client() as client:
            done = client.wait(job.job_id)
        assert (done.status, done.attempts) == ("completed", 1)
    finally:
        pod.close()


def test_a_second_signal_ends_at_once(fake_pod: Pod) -> None:
    fake_pod.start()
    with fake_pod.client() as client:
        job = client.submit("video_fast", "a cat")
        next(event for event in client.events(job.job_id) if event.kind == EventKind.PROGRESS)
    family = fake_pod.family()
    os.kill(fake_pod.process.pid, signal.SIGTERM)
    fake_pod.wait_for("pod_draining")
    os.kill(fake_pod.process.pid, signal.SIGTERM)
    fake_pod.process.wait(END_TIMEOUT_S)
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []
