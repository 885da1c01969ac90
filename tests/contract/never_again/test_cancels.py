"""A cancelled job lets go of the device, tells nothing and leaves nothing (lines 10 and 11)."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.contract.never_again.worlds import (
    ENDS,
    KINDS,
    Deployed,
    World,
    records,
    seed,
    until,
    world_of,
)

from ourvidz_worker.testing.pod_process import PodProcess
from ourvidz_worker.testing.supabase.payloads import Payload, text_to_image, video

pytestmark = pytest.mark.e2e

FREE_WITHIN_S = 10.0
"""How long a cancelled job may keep the device."""

SLOW = '{"steps_s": 0.3}'


def steps(number: int) -> Payload:
    """A configuration of so many steps, each of 0.3 s."""
    return {"num_inference_steps": number, "sample_steps": number}


@pytest.fixture(scope="module", params=KINDS)
def started(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[World, PodProcess]]:
    """Each of the two worlds with a slow pod that is ready."""
    with (
        world_of(request.param, tmp_path_factory.mktemp("cancels")) as world,
        world.running(OURVIDZ_FAKE_OPTIONS=SLOW) as pod,
    ):
        yield world, pod


def check_gone(world: World, pod: PodProcess, job: str, told: list[str]) -> None:
    """Assert that a cancelled job is over, and that nothing else is told or left of it."""
    ends = until(lambda: [one for one in records(pod, "job_settled") if one["job_id"] == job])
    assert [end["status"] for end in ends] == ["cancelled"]
    assert world.statuses(job) == told
    assert world.files(job) == []
    if isinstance(world, Deployed):
        assert world.application.row(job)["status"] == "cancelled"
        assert world.application.assets(job) == []


def test_11_cancelled_jobs_free_their_lanes_and_leave_no_files(
    started: tuple[World, PodProcess],
) -> None:
    """K-20: half a minute of work each; what comes after them is done within 10 s of the cancel."""
    world, pod = started
    running = [world.hand_in(build(seed(config=steps(100)))) for build in (text_to_image, video)]
    waiting = world.hand_in(text_to_image(seed(config=steps(100))))
    until(lambda: all(world.statuses(job) == ["processing"] for job in running))
    after = [world.hand_in(build(seed(config=steps(1)))) for build in (text_to_image, video)]
    for job in (waiting, *running):
        world.cancel(job)
    for job in after:
        assert world.end_of(job, within_s=FREE_WITHIN_S).body["status"] == "completed"
    for job in running:
        check_gone(world, pod, job, ["processing"])
    assert not ENDS & set(world.statuses(waiting))
    assert world.files(waiting) == []
    assert files_in_spool(pod) == []


def files_in_spool(pod: PodProcess) -> list[Path]:
    """Work files that are still there, once the folders of ended attempts are gone."""
    return [path for path in (pod.state / "spool").rglob("*") if path.is_file()]


def test_10_a_cancel_in_the_last_second_is_heard(started: tuple[World, PodProcess]) -> None:
    """K-20: nothing is told of an end after the cancel, though the rows are seldom looked at."""
    world, pod = started
    job = world.hand_in(text_to_image(seed(config=steps(5))))
    until(lambda: world.statuses(job) == ["processing"])
    world.cancel(job)
    check_gone(world, pod, job, ["processing"])


def test_11_a_cancel_between_uploads_takes_what_was_uploaded(
    started: tuple[World, PodProcess],
) -> None:
    """K-20: one picture of three is stored, the next one is still tried, the user cancels."""
    world, pod = started
    payload = text_to_image(seed(config=steps(1)), images=3)
    job = str(payload["id"])
    world.refuse_file(job, "1.png")
    world.hand_in(payload)
    until(lambda: world.files(job))
    world.cancel(job)
    world.mend()
    check_gone(world, pod, job, ["processing"])
