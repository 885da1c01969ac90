"""`startup.sh` as an operator runs it: everything wrong at once, and a pod at the end."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.e2e.pods import FAKE, free_port

pytestmark = pytest.mark.e2e

SCRIPT = Path(__file__).resolve().parents[2] / "startup.sh"
PATIENCE_S = 120
NOWHERE = "127.0.0.1:9"


def environment(state: Path, **settings: str) -> dict[str, str]:
    """The variables of a bare machine that has this project installed, and `settings`."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "HOME": str(state.parent),
        "STATE_DIR": str(state),
        "WORKER_PORT": str(free_port()),
        "CHAT_WORKER_PORT": str(free_port()),
        **settings,
    }


def start(*arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the script to its end."""
    return subprocess.run(
        [SCRIPT, *arguments],
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )


def faults(output: str) -> dict[str, str]:
    """What is named as missing or wrong, and its cure."""
    rows = re.findall(r"^fail (.+?): .*?  -> (.+)$", output, re.MULTILINE)
    assert output.count("\nfail ") == len(rows)
    return dict(rows)


def test_a_good_machine_passes_three_phases(tmp_path: Path) -> None:
    """O-7: `--check` runs phases 1 to 3, a line each, and exits 0."""
    done = start("--check", env=environment(tmp_path / "state", **FAKE))
    assert (done.returncode, done.stderr) == (0, "")
    assert [line for line in done.stdout.splitlines() if line.startswith("[")] == [
        "[1/6] environment validation: ok",
        "[2/6] model readiness: ok",
        "[3/6] memory assessment: ok",
    ]
    assert not (tmp_path / "state").exists()


def test_a_deployed_pod_with_everything_wrong_hears_of_everything_at_once(tmp_path: Path) -> None:
    """O-3, O-7: settings, models and services in one list, each with its cure; nothing starts."""
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(b"short")
    wrong = environment(
        tmp_path / "state",
        SUPABASE_URL=f"http://{NOWHERE}",
        REDIS_URL=f"redis://:hidden-word@{NOWHERE}",
        SUPABASE_SERVICE_ROLE_KEY='"quoted-service-role-key"',
        WORKER_AUTH_MODE="closed",
        OURVIDZ_LNES="image",
        OURVIDZ_DEVICE="cuda:9",
        SDXL_MODEL_PATH=str(cut),
        WAN_MODEL_PATH="/nowhere",
    )
    for arguments in (["--check"], []):
        done = start(*arguments, env=wrong)
        assert done.returncode == 1
        assert set(faults(done.stdout)) == {
            "torch",
            "OURVIDZ_LNES",
            "WAN_WORKER_API_KEY",
            "WORKER_AUTH_MODE",
            "SUPABASE_SERVICE_ROLE_KEY",
            "SDXL_MODEL_PATH",
            "WAN_MODEL_PATH",
        }
        for word in ("warn redis: cannot be reached", "warn supabase: cannot be reached"):
            assert word in done.stdout
        assert "hidden-word" not in done.stdout + done.stderr
        assert "[3/6] memory assessment" in done.stdout
        assert not (tmp_path / "state").exists()


def test_an_embedded_pod_with_everything_wrong_hears_of_everything_at_once(tmp_path: Path) -> None:
    """O-7: the same without an application."""
    (tmp_path / "file").write_text("")
    wrong = environment(
        tmp_path / "file",
        OURVIDZ_IMAGE_ENGINE="flux",
        OURVIDZ_WEBHOOK_SECRETS="whsec_short",
        QWEN_INSTRUCT_PATH="/nowhere",
        WORKER_PORT="1",
        CHAT_WORKER_PORT="1",
    )
    done = start("--check", env=wrong)
    assert done.returncode == 1
    assert set(faults(done.stdout)) == {
        "settings",
        "OURVIDZ_IMAGE_ENGINE",
        "OURVIDZ_WEBHOOK_SECRETS",
        "QWEN_INSTRUCT_PATH",
        "state folder",
    }
    assert "fail settings: WORKER_PORT and CHAT_WORKER_PORT must differ" in done.stdout


def test_the_script_becomes_the_pod_and_six_phases_are_told(tmp_path: Path) -> None:
    """O-6, O-7: one status line a phase, in order; one process, which drains on SIGTERM."""
    env = environment(tmp_path / "state", **FAKE)
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen(
            [SCRIPT], env=env, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdout is not None
        lines = [next(process.stdout).strip() for _ in range(6)]
        command = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        variables = Path(f"/proc/{process.pid}/environ").read_bytes().split(b"\0")
        process.terminate()
        rest, _ = process.communicate(timeout=PATIENCE_S)
    ports = (env["WORKER_PORT"], env["CHAT_WORKER_PORT"])
    asked = " and ".join(f"http://127.0.0.1:{port}/health" for port in ports)
    assert lines == [
        "[1/6] environment validation: ok",
        "[2/6] model readiness: ok",
        "[3/6] memory assessment: ok",
        "[4/6] worker launch: image ready, chat ready, video ready",
        "[5/6] auto-registration: off, there is no application",
        f"[6/6] health monitoring: healthy, {asked}",
    ]
    assert command[-2] == b"up"
    assert b"PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True" in variables
    assert (process.returncode, rest) == (0, "")


def test_help_explains_and_starts_nothing(tmp_path: Path) -> None:
    done = start("--help", env=environment(tmp_path / "state"))
    assert done.returncode == 0
    assert "phases 1 to 3 alone" in done.stdout
    assert not (tmp_path / "state").exists()


def test_without_an_installation_the_cure_is_told(tmp_path: Path) -> None:
    bare = tmp_path / "startup.sh"
    bare.write_bytes(SCRIPT.read_bytes())
    done = subprocess.run(
        ["/bin/bash", bare, "--check"],
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 1
    assert "is not installed  -> run `pip install" in done.stdout
