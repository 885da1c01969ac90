"""A real worker process over a real pipe: what the pod sees of it, in good and bad times."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image
from tests.unit.worker.pod_end import PodEnd, start_process, wait_for_end
from tests.unit.worker.worker_parts import CLIP, PICTURE, TALK, make_run, only, with_raw

from ourvidz_worker.domain.messages import (
    Beat,
    Cancel,
    Computed,
    Describe,
    Description,
    Drain,
    Failed,
    Finished,
    LoadFailed,
    Loading,
    Progress,
    Ready,
    Stopped,
    TextPiece,
)
from ourvidz_worker.domain.request import Request
from ourvidz_worker.engines.encode import verify_mp4
from ourvidz_worker.worker.main import LOAD_FAILED, POD_LOST

PARENT = """
import os, sys
from pathlib import Path
import msgspec
from ourvidz_worker.wiring.worker_spec import read_spec, write_spec
from tests.unit.worker.pod_end import start_process
spec = msgspec.structs.replace(read_spec(sys.argv[1]), parent_pid=os.getpid())
print(start_process([write_spec(spec)], Path(sys.argv[2])).pid, flush=True)
sys.stdin.read()
"""

Start = Callable[..., PodEnd]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start workers that are gone after the test, however it ends."""
    started: list[PodEnd] = []

    def start(**options: str | int | float | bool) -> PodEnd:
        pod = PodEnd(tmp_path, options=options)
        started.append(pod)
        return pod

    yield start
    for pod in started:
        pod.end()


def test_it_gets_ready_and_runs_every_kind(start: Start, tmp_path: Path) -> None:
    pod = start(load_s=0.4, capacity=2)
    pod.send(Describe())
    ready = pod.expect(Ready)
    assert ready.description.capacity == 2
    assert only(pod.seen, Description)[0].details == {"loading": True}
    assert [report.fraction for report in only(pod.seen, Loading)] == [0, 0.25, 0.5, 0.75, 1]
    requests: list[Request] = [with_raw(PICTURE), CLIP, TALK]
    for number, request in enumerate(requests):
        pod.send(make_run(tmp_path, f"a{number}", request))
    ends = sorted((pod.outcome() for _ in requests), key=lambda each: each.attempt_id)
    picture, clip, talk = ends
    assert isinstance(picture, Finished)
    assert isinstance(clip, Finished)
    assert isinstance(talk, Finished)
    assert sorted(each.attempt_id for each in only(pod.seen, Computed)) == ["a0", "a1"]
    with Image.open(tmp_path / "a0" / "0.png") as file:
        assert file.size == (64, 48)
    assert verify_mp4(tmp_path / "a1" / "0.mp4").frames == 5
    told = [piece.text for piece in only(pod.seen, TextPiece) if piece.attempt_id == "a2"]
    assert "".join(told).strip() == talk.artifacts[0].text
    assert pod.expect(Beat).steps > 0


def test_a_cancel_stops_within_a_step_and_the_next_run_is_unaffected(
    start: Start, tmp_path: Path
) -> None:
    pod = start(steps_s=60.0)
    pod.expect(Ready)
    run = make_run(tmp_path, "a1")
    pod.send(run)
    pod.expect(Progress)
    pod.send(Cancel(attempt_id="a1"))
    assert pod.outcome(timeout_s=10.0) == Stopped(attempt_id="a1", reason="cancelled")
    assert list(Path(run.spool).iterdir()) == []
    late = make_run(tmp_path, "a2", deadline_s=0.2)
    pod.send(late)
    outcome = pod.outcome(timeout_s=10.0)
    assert isinstance(outcome, Failed)
    assert (outcome.attempt_id, outcome.code) == ("a2", "TIMEOUT_ERROR")


def test_a_crash_is_seen_as_the_end_of_the_process(start: Start, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    pod = start(crash_at_step=2, fault_marker=str(marker))
    pod.expect(Ready)
    pod.send(make_run(tmp_path))
    assert pod.exit_code() == -signal.SIGKILL
    assert marker.exists()


def test_a_hung_engine_does_not_stop_the_beats(start: Start, tmp_path: Path) -> None:
    pod = start(hang_at_step=1)
    pod.expect(Ready)
    pod.send(make_run(tmp_path))
    pod.expect(Progress)
    pod.send(Cancel(attempt_id="a1"))
    pod.expect(Beat)
    pod.expect(Beat)
    assert only(pod.seen, Stopped) == []
    pod.send(Drain(grace_s=0.0))
    pod.leave()
    assert pod.exit_code() == POD_LOST


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_drain_lets_the_work_finish(how: str, start: Start, tmp_path: Path) -> None:
    pod = start(steps_s=0.05)
    pod.expect(Ready)
    pod.send(make_run(tmp_path, "a1"))
    pod.expect(Progress)
    pod.process.send_signal(signal.SIGINT)  # a terminal's Ctrl-C is the pod's business
    if how == "command":
        pod.send(Drain(grace_s=30.0))
    else:
        pod.process.send_signal(signal.SIGTERM)
    assert isinstance(pod.outcome(), Finished)
    assert pod.exit_code() == 0


@pytest.mark.parametrize("how", ["command", "signal"])
def test_a_drain_stops_what_outlasts_its_grace(how: str, start: Start, tmp_path: Path) -> None:
    pod = start(steps_s=60.0)
    pod.expect(Ready)
    run = make_run(tmp_path)
    pod.send(run)
    pod.expect(Progress)
    if how == "command":
        pod.send(Drain(grace_s=0.1))
    else:
        pod.process.send_signal(signal.SIGTERM)
        pod.process.send_signal(signal.SIGTERM)
        pod.send(Drain(grace_s=0.1))  # two signals at once may be merged into one
    assert pod.outcome(timeout_s=10.0) == Stopped(attempt_id="a1", reason="draining")
    assert pod.exit_code() == 0
    assert list(Path(run.spool).iterdir()) == []


def test_a_load_that_fails_is_told_and_ends_the_process(start: Start) -> None:
    pod = start(fail_load=True)
    assert pod.expect(LoadFailed).code == "MODEL_LOAD_ERROR"
    assert pod.exit_code() == LOAD_FAILED
    lines = [json.loads(line) for line in pod.log.read_text().splitlines()]
    assert [line["action"] for line in lines] == ["load_failed"]


def test_without_its_pod_it_ends(start: Start, tmp_path: Path) -> None:
    pod = start(steps_s=60.0)
    pod.expect(Ready)
    pod.send(make_run(tmp_path))
    pod.expect(Progress)
    pod.leave()
    assert pod.exit_code() == POD_LOST


def test_it_dies_with_its_parent_though_the_pipe_stands(start: Start, tmp_path: Path) -> None:
    pod = start()
    pod.expect(Ready)
    pod.process.kill()
    pod.exit_code()
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, pod.argument, str(tmp_path / "second.log")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        pod.expect(Ready)
        parent.send_signal(signal.SIGKILL)
        assert wait_for_end(pid)


def test_it_does_not_start_for_another_parent(tmp_path: Path) -> None:
    pod = PodEnd(tmp_path, parent_pid=1)
    try:
        assert pod.exit_code() == POD_LOST
    finally:
        pod.end()


@pytest.mark.parametrize("arguments", [[], ["{}"], ["not json"], ["{}", "{}"]])
def test_a_bad_argument_is_logged_and_ends_it(arguments: list[str], tmp_path: Path) -> None:
    process = start_process(arguments, tmp_path / "log")
    assert process.wait(30.0) == 1
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert json.loads(line)["action"] == "bad_argument"
