"""`submit` from the words typed to the files written, against a pod on a real port."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from tests.unit.client.served_pod import (
    KEY,
    PICTURE,
    ServedPod,
    begin,
    complete,
    fail,
    served,
    write,
)

from ourvidz_worker.cli.interrupts import INTERRUPTED
from ourvidz_worker.cli.main import run
from ourvidz_worker.domain.job_types import JOB_TYPES


@pytest.fixture(autouse=True)
def fresh_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OURVIDZ_KEY", KEY)


@pytest.fixture
def pod(monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedPod]:
    with served(complete) as running:
        monkeypatch.setenv("OURVIDZ_URL", running.url)
        yield running


def sent(pod: ServedPod, job_id: str) -> dict[str, object]:
    return msgspec.json.decode(pod.pod.jobs.records[job_id].job.payload, type=dict[str, object])


def test_a_job_is_shown_saved_and_accounted_for(
    pod: ServedPod, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", "sdxl_image_fast", "a cat", "--id", "cat", "--out", "here"]) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "cat: queued 0%",
        "cat: started 0%",
        "cat: denoise 50% 1/2, 3 s left",
        "cat: completed 100%",
    ]
    assert shown.out.splitlines() == [
        "here/cat-0.png\tmain\t128x72\t13 B",
        "here/cat-0.thumb.webp\tthumbnail\t\t15 B",
        "here/cat-1.png\tmain\t128x72\t13 B",
        "denoise\t1.50 s",
        "size\t9\t8\tsmall",
    ]
    assert (tmp_path / "here" / "cat-1.png").read_bytes() == PICTURE
    assert len(pod.pod.jobs.records) == 1


@pytest.mark.parametrize("job_type", JOB_TYPES)
def test_every_job_type_can_be_handed_in(
    job_type: str, pod: ServedPod, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["submit", job_type, "x", "--no-wait", "--id", "j"]) == 0
    assert capsys.readouterr().out == "j\n"
    assert sent(pod, "j")["type"] == job_type


def test_options_and_files_reach_the_job(pod: ServedPod, tmp_path: Path) -> None:
    (tmp_path / "first.png").write_bytes(b"png")
    (tmp_path / "base.json").write_text('{"metadata": {"a": 1}, "config": {"seed": 1}}')
    words = ["submit", "video_fast", "a cat", "--no-wait", "--id", "j", "--json", "base.json"]
    words += ["--negative", "", "--steps", "4", "--guidance", "0", "--size", "832x480"]
    words += ["--seed", "7", "--frames", "17", "--strength", "0.5", "--user", "u"]
    words += ["--first", "first.png", "--reference", "workspace-temp/u/a.png"]
    words += ["--config", "sample_shift=3.5", "--config", "sample_solver=unipc"]
    assert run(words) == 0
    assert sent(pod, "j") == {
        "id": "j",
        "type": "video_fast",
        "user_id": "u",
        "prompt": "a cat",
        "negative_prompt": "",
        "metadata": {"a": 1},
        "config": {
            "seed": 7,
            "sample_shift": 3.5,
            "sample_solver": "unipc",
            "num_inference_steps": 4,
            "guidance_scale": 0.0,
            "size": "832x480",
            "frame_num": 17,
            "denoise_strength": 0.5,
            "first_frame": "reference_images/u/0.png",
            "image": "workspace-temp/u/a.png",
        },
    }
    assert pod.pod.jobs.references == {"reference_images/u/0.png": b"png"}


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["fly", "x"], "TYPE"),
        (["video_fast", "x", "--config", "steps"], "NAME=VALUE"),
        (["video_fast", "x", "--reference", "missing.png"], "field reference"),
        (["video_fast", "x", "--json", "bad.json"], "one JSON object"),
        (["video_fast", "x", "--json", "missing.json"], "missing.json"),
        (["video_fast", "x", "--steps", "many"], "many"),
        (["video_fast", "x", "--id", "../j"], "field id"),
    ],
)
def test_wrong_words_are_the_callers_fault(
    words: list[str],
    told: str,
    pod: ServedPod,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "bad.json").write_text("[1]")
    assert run(["submit", *words]) == 2
    assert told in capsys.readouterr().err
    assert pod.pod.jobs.records == {}


def test_a_failed_job_is_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(fail) as pod:
        monkeypatch.setenv("OURVIDZ_URL", pod.url)
        assert run(["submit", "video_fast", "x"]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "error: Generation failed; try again. (code GENERATION_ERROR)"
    assert list(tmp_path.iterdir()) == []


def test_a_text_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with served(write) as pod:
        monkeypatch.setenv("OURVIDZ_URL", pod.url)
        assert run(["submit", "chat_conversation", "x", "--id", "talk"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown == ["Two words", "results/talk-0.txt\ttext\t\t9 B"]


def submitting(pod: ServedPod, folder: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "ourvidz_worker", "submit", "video_fast", "x"]
    command += ["--id", "j", "--url", pod.url]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=folder, preexec_fn=listen_to_interrupts
    )


def listen_to_interrupts() -> None:
    """What runs in a shell's background ignores interrupts, and so would all its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def lines_until(process: "subprocess.Popen[str]", word: str) -> list[str]:
    assert process.stderr is not None
    found = []
    for line in process.stderr:
        found.append(line.strip())
        if word in line:
            break
    return found


def test_an_interrupt_cancels_the_job_waited_for(tmp_path: Path) -> None:
    with served(begin) as pod, submitting(pod, tmp_path) as process:
        lines_until(process, "denoise")
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=30)[1]
        status = pod.pod.jobs.records["j"].status
    assert process.returncode == INTERRUPTED
    assert status == "cancelled"
    assert "j: stopping the job; Ctrl-C again leaves at once" in rest
    assert "j: cancelled" in rest


def test_a_second_interrupt_leaves_at_once(tmp_path: Path) -> None:
    with served(begin, obedient=False) as pod, submitting(pod, tmp_path) as process:
        lines_until(process, "denoise")
        process.send_signal(signal.SIGINT)
        lines_until(process, "stopping")
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        status = pod.pod.jobs.records["j"].status
    assert status == "leased"
    assert process.returncode == INTERRUPTED
