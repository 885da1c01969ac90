"""`kill -9` at any instant: every accepted job ends once, and is told once for each status."""

import os
import signal

import pytest
from tests.e2e.pods import Pod, Sink

from ourvidz_worker.client import Accepted, Client
from ourvidz_worker.domain.event import EventKind

pytestmark = pytest.mark.e2e

KINDS = {
    "image": ("sdxl_image_fast", "a red apple on a blue background"),
    "video": ("video_fast", "a cat slides right"),
    "chat": ("chat_conversation", "tell me of the sea"),
}


def submit(client: Client, lane: str) -> Accepted:
    """One job of the lane's kind."""
    job_type, prompt = KINDS[lane]
    return client.submit(job_type, prompt)


def wait_until_it_moves(client: Client, job_id: str, *, steps: int = 3) -> None:
    """Return when the job has done some of its steps and has more to do."""
    moments = 0
    for event in client.events(job_id):
        moments += event.kind in {EventKind.PROGRESS, EventKind.TOKEN}
        if moments >= steps:
            return
    pytest.fail("the job ended before it could be disturbed")


@pytest.mark.parametrize("lane", list(KINDS))
def test_a_worker_killed_in_the_middle_of_a_job(fake_pod: Pod, sink: Sink, lane: str) -> None:
    fake_pod.start()
    with fake_pod.client() as client:
        job = submit(client, lane)
        wait_until_it_moves(client, job.job_id)
        os.kill(fake_pod.worker(lane).pid, signal.SIGKILL)
        done = client.wait(job.job_id)
    assert (done.status, done.attempts) == ("completed", 2)
    assert sink.statuses(job.job_id) == ["processing", "completed"]


def test_the_pod_killed_and_started_again(fake_pod: Pod, sink: Sink) -> None:
    fake_pod.start()
    with fake_pod.client() as client:
        jobs = [submit(client, lane) for lane in (*KINDS, *KINDS)]
        wait_until_it_moves(client, jobs[0].job_id)
    assert fake_pod.kill() == []
    fake_pod.start()
    with fake_pod.client() as client:
        done = [client.wait(job.job_id) for job in jobs]
    assert [view.status for view in done] == ["completed"] * len(jobs)
    for job in jobs:
        assert sink.statuses(job.job_id) == ["processing", "completed"]
    assert sink.received.empty()
