"""What is deployed: the image's recipe and the start script, read without running an engine."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "startup.sh"


def instructions() -> list[tuple[str, str]]:
    """Every instruction of the Dockerfile and its arguments, comments and line breaks removed."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    words = [line.partition(" ") for line in joined.splitlines() if line.strip()]
    return [(name, rest.strip()) for name, _, rest in words]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_every_stage_begins_with_a_pinned_image_and_the_last_has_cuda() -> None:
    """O-1: reproducible, on a CUDA base."""
    images = of("FROM")
    assert len(images) == 2
    assert all(re.match(r"[\w./-]+:\d[\w.-]+( AS \w+)?$", image) for image in images)
    assert images[-1].startswith("nvidia/cuda:")


def test_the_image_does_not_run_as_root_and_takes_signals_itself() -> None:
    """O-6: exec form, so that SIGTERM reaches the pod."""
    assert of("USER") == ["ourvidz"]
    names = [name for name, _ in instructions()]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert of("ENTRYPOINT") == ['["./startup.sh"]']


def test_the_image_tells_its_health_ports_and_state() -> None:
    """H-1, H-10: both ports, health over HTTP, and a volume for what must last."""
    (health,) = of("HEALTHCHECK")
    assert re.search(r"--timeout=5s .*/health", health)
    assert of("EXPOSE") == ["7860 7861"]
    assert "STATE_DIR=/var/lib/ourvidz-worker" in of("ENV")[-1]
    assert of("VOLUME") == ["/var/lib/ourvidz-worker"]


def test_what_is_copied_exists_and_nothing_is_downloaded_unpinned() -> None:
    """O-1: pinned dependencies, sources that are here, no address fetched by the recipe."""
    assert of("ADD") == []
    local = [rest.split()[:-1] for rest in of("COPY") if not rest.startswith("--from=")]
    assert not [name for names in local for name in names if not (ROOT / name).exists()]
    installs = [rest for rest in of("RUN") if "pip install" in rest]
    assert installs
    assert all("--constraint constraints.txt" in rest and "pip check" in rest for rest in installs)
    assert not [rest for rest in of("RUN") if re.search(r"curl|wget|https?:", rest)]


def test_the_image_holds_no_secret_and_no_fetched_weights() -> None:
    """H-4: secrets come with the environment of the container alone."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert not re.search(r"(KEY|SECRET|TOKEN|PASSWORD)\s*=", text)
    allowed = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    copied = {
        name.partition("/")[0]
        for rest in of("COPY")
        if not rest.startswith("--from=")
        for name in rest.split()[:-1]
    }
    assert {name.partition("/")[0] for name in allowed} == copied
    assert [name for name in allowed if name.startswith("models")] == ["models/pocket"]


def test_the_images_python_is_the_one_that_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = project["tool"]["mypy"]["python_version"]
    assert of("FROM")[0].startswith(f"python:{version}-")


def test_the_script_stops_at_the_first_error_and_becomes_the_pod() -> None:
    """O-7, M-1: strict mode, the allocator's setting before any Python, `exec` at the end."""
    lines = SCRIPT.read_text(encoding="utf-8").splitlines()
    assert "set -euo pipefail" in lines[:5]
    assert lines[-1] == 'exec ourvidz-worker up "$@"'
    setting = next(n for n, line in enumerate(lines) if "PYTORCH_CUDA_ALLOC_CONF=" in line)
    first_python = next(n for n, line in enumerate(lines) if line.startswith("ourvidz-worker "))
    assert setting < first_python
    assert SCRIPT.stat().st_mode & 0o111 == 0o111


def test_the_script_names_the_six_phases_in_order() -> None:
    """O-7."""
    named = re.findall(r"^  ([1-6]) (\S+(?: \S+)?)  ", SCRIPT.read_text("utf-8"), re.MULTILINE)
    assert named == [
        ("1", "environment validation"),
        ("2", "model readiness"),
        ("3", "memory assessment"),
        ("4", "worker launch"),
        ("5", "auto-registration"),
        ("6", "health monitoring"),
    ]


def test_the_script_is_sound_bash() -> None:
    done = subprocess.run(["bash", "-n", SCRIPT], capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_has_nothing_to_say() -> None:
    done = subprocess.run(["shellcheck", SCRIPT], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "")
