"""What real pods gave up, brought back by the operator's commands."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.contract.never_again.worlds import (
    KINDS,
    QUICK,
    Deployed,
    World,
    records,
    seed,
    until,
    world_of,
)

from ourvidz_worker.cli.main import run
from ourvidz_worker.testing.pod_process import PodProcess
from ourvidz_worker.testing.supabase import Fault
from ourvidz_worker.testing.supabase.payloads import text_to_image

pytestmark = pytest.mark.e2e

Say = Callable[..., list[list[str]]]
"""Runs a command against a pod; its lines, parted at the tabs."""

CRASHES = '{"steps_s": 0.01, "crash_at_step": 2}'
SETTINGS = {"OURVIDZ_LANES": "image", "MAX_JOB_ATTEMPTS": "1"}


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Say:
    def command(world: World, pod: PodProcess, *words: str) -> list[list[str]]:
        capsys.readouterr()
        assert run([*words, "--url", pod.url, "--key", world.key_of(pod)]) == 0
        return [line.split("\t") for line in capsys.readouterr().out.splitlines()]

    return command


def test_dead_callbacks_are_told_after_all(tmp_path: Path, say: Say) -> None:
    """K-11: the same bytes, in their order, once the receiver takes them."""
    with world_of("deployed", tmp_path) as world, world.pod(**SETTINGS) as pod:
        assert isinstance(world, Deployed)
        world.application.add_fault(Fault(call="job-callback", status=410, times=None))
        until(lambda: records(pod, "worker_ready"))
        job = world.hand_in(text_to_image(seed()))
        dead = until(lambda: len(rows := say(world, pod, "callbacks", "dead")) == 2 and rows)
        assert [row[1:3] for row in dead] == [[job, "completed"], [job, "processing"]]
        assert world.told(job) == []
        world.mend()
        assert say(world, pod, "callbacks", "replay", "--all") == [["2 of 2 are sent again"]]
        assert world.end_of(job).body["status"] == "completed"
        assert world.statuses(job) == ["processing", "completed"]
        assert len(set(world.callback_tries(job))) == 2
        assert say(world, pod, "callbacks", "dead") == []
        assert world.application.row(job)["status"] == "completed"


@pytest.mark.parametrize("kind", KINDS)
def test_a_dead_letter_is_worked_anew(kind: str, tmp_path: Path, say: Say) -> None:
    """Q-21: once its cause is gone it completes under its id, as if for the first time."""
    with world_of(kind, tmp_path) as world:
        with world.pod(**SETTINGS, OURVIDZ_FAKE_OPTIONS=CRASHES) as pod:
            until(lambda: records(pod, "worker_ready"))
            job = world.hand_in(text_to_image(seed()))
            assert world.end_of(job).body["status"] == "failed"
        with world.pod(**SETTINGS, OURVIDZ_FAKE_OPTIONS=QUICK) as pod:
            until(lambda: records(pod, "worker_ready"))
            (letter,) = say(world, pod, "dead")
            assert letter[1:3] == [job, "WORKER_UNAVAILABLE"]
            if isinstance(world, Deployed):
                world.application.reopen(job)
            told = f"{letter[0]}: waits again as job {job}"
            assert say(world, pod, "dead", "--replay", letter[0]) == [[told]]
            until(lambda: world.statuses(job)[-1] == "completed")
            assert world.statuses(job) == ["processing", "failed", "processing", "completed"]
            assert world.told(job)[-1].body["metadata"]["attempts"] == 1
            assert len(world.files(job)) == 2
            assert say(world, pod, "dead") == []
