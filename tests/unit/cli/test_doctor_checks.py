"""What `doctor` finds on a good machine and on bad ones."""

import json
import socket
import struct
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import msgspec
import pytest

from ourvidz_worker.cli import checks, device_checks, model_checks
from ourvidz_worker.cli.device_checks import Torch
from ourvidz_worker.cli.finding import Finding
from ourvidz_worker.cli.main import run
from ourvidz_worker.cli.safetensors_header import damage
from ourvidz_worker.config import Config
from ourvidz_worker.testing.clock import FakeClock

Usage = namedtuple("Usage", "total used free")


def safetensors(header: object, weights: bytes) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + weights


GOOD = safetensors({"__metadata__": {}, "a": {"data_offsets": [0, 4]}}, b"1234")


def levels(findings: list[Finding]) -> list[str]:
    assert all(finding.cure for finding in findings if finding.level != "ok")
    return [finding.level for finding in findings]


def config(**values: object) -> Config:
    return msgspec.structs.replace(Config(), **values)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (GOOD, None),
        (b"abc", "too short"),
        (GOOD[:12], "longer than the file"),
        (struct.pack("<Q", 1 << 60) + b"x", "longer than the file"),
        (struct.pack("<Q", 2) + b"[]", "not JSON"),
        (GOOD[:-1], "3 bytes of weights where its header lists 4"),
        (GOOD + b"5", "5 bytes"),
        (safetensors({"a": {}}, b""), "no offsets"),
        (safetensors({}, b""), None),
    ],
)
def test_a_safetensors_file_is_judged_by_its_header(
    content: bytes, told: str | None, tmp_path: Path
) -> None:
    file = tmp_path / "a.safetensors"
    file.write_bytes(content)
    found = damage(file)
    assert found is None if told is None else told in (found or "")


def test_a_file_that_cannot_be_read_is_damaged(tmp_path: Path) -> None:
    assert damage(tmp_path / "none") == "No such file or directory"


def test_a_port_in_use_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = checks.check_ports(config(worker_port=port, chat_worker_port=0))
    assert levels(found) == ["fail", "ok"]
    assert "WORKER_PORT" in found[0].cure


def test_a_good_state_folder_is_measured_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    found = checks.check_state(config(state_dir=folder), FakeClock())
    assert [finding.what for finding in found] == ["state folder", "space", "fsync"]
    assert found[2].told == "inf a second"
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_a_state_folder_that_is_a_file_fails(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (found,) = checks.check_state(config(state_dir=file), FakeClock())
    assert found.level == "fail"


def test_a_slow_disk_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    monkeypatch.setattr("os.fsync", lambda _: clock.jump(0.1))
    assert checks.check_state(config(state_dir=tmp_path), clock)[2].level == "warn"


@pytest.mark.parametrize(("free", "level"), [(1e12, "ok"), (1e9, "warn"), (1e6, "fail")])
def test_space_is_judged(
    free: float, level: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage(0, 0, int(free)))
    assert checks.check_state(config(state_dir=tmp_path), FakeClock())[1].level == level


def test_libraries_are_tried_in_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "find_spec", lambda name: None if name == "diffusers" else 1)
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert levels(checks.check_libraries()) == ["fail", "warn", "fail"]
    assert device_checks.ask_torch().fault == "it fails"


@pytest.mark.parametrize("name", ["png", "video"])
def test_the_encoders_of_this_machine_work(name: str) -> None:
    command = [sys.executable, "-m", "ourvidz_worker.cli.probe", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout.splitlines()) == 1


def test_a_probe_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(*_: object, **__: object) -> None:
        raise subprocess.TimeoutExpired("x", device_checks.PROBE_S)

    monkeypatch.setattr("subprocess.run", hang)
    assert "no answer" in checks.check_libraries()[0].told


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    assert levels(checks.check_python()) == ["ok"]
    monkeypatch.setattr(checks, "OLDEST_PYTHON", (99, 0))
    assert levels(checks.check_python()) == ["fail"]


@pytest.fixture
def quick_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "check_libraries", list)
    monkeypatch.setattr(device_checks, "ask_torch", lambda: Torch(version="2"))
    monkeypatch.setattr(model_checks, "check_small_models", list)
    monkeypatch.setenv("STATE_DIR", str(tmp_path))
    monkeypatch.setenv("WORKER_PORT", "0")
    monkeypatch.setenv("CHAT_WORKER_PORT", "0")


@pytest.mark.usefixtures("quick_machine")
def test_a_good_machine_passes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "a pod can run here"
    assert all(line.startswith(("ok ", "warn ")) for line in lines[:-1])


@pytest.mark.parametrize("lanes", ["admin", "image,admin"])
@pytest.mark.usefixtures("quick_machine")
def test_the_admin_lane_is_not_for_choosing(
    lanes: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """J-2: every pod serves it."""
    monkeypatch.setenv("OURVIDZ_LANES", lanes)
    assert run(["doctor"]) == 1
    assert "fail OURVIDZ_LANES: must name lanes among image, chat and" in capsys.readouterr().out


@pytest.mark.usefixtures("quick_machine")
def test_bad_settings_are_findings_each_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OURVIDZ_LANES", "image,fly")
    monkeypatch.setenv("OURVIDZ_DEVCE", "cpu")
    monkeypatch.setenv("SDXL_MODEL_PATH", "/nowhere")
    assert run(["doctor"]) == 1
    shown = capsys.readouterr().out
    assert "fail OURVIDZ_LANES: must name lanes" in shown
    assert "-> it may be OURVIDZ_DEVICE" in shown
    assert "fail SDXL_MODEL_PATH: /nowhere: no such file or folder" in shown
    assert "3 to mend" in shown


@pytest.mark.usefixtures("quick_machine")
def test_the_phases_of_a_start_have_a_status_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """O-7: three lines on a good machine; what is not well stands below its phase."""
    assert run(["doctor", "--phases"]) == 0
    good = [
        "[1/6] environment validation: ok",
        "[2/6] model readiness: ok",
        "[3/6] memory assessment: ok",
    ]
    assert capsys.readouterr().out.splitlines() == good
    monkeypatch.setenv("QWEN_BASE_PATH", "/nowhere")
    assert run(["doctor", "--phases"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1] == "[2/6] model readiness: 1 to mend"
    assert lines[2].startswith("fail QWEN_BASE_PATH: ")
    assert lines[-1] == "1 to mend"
