"""What `doctor` looks at of the machine; each bad finding names its cure."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from ourvidz_worker.cli.device_checks import PROBE_S
from ourvidz_worker.cli.finding import Finding, Level
from ourvidz_worker.clock import Clock
from ourvidz_worker.config import Config

OLDEST_PYTHON = (3, 11)
FSYNCS = 20
SLOW_FSYNC_PER_S = 50.0
"""Each accepted job and each settled one waits for an fsync or two; below this it is felt."""

LITTLE_SPACE = 2_000_000_000
NO_SPACE = 200_000_000

GIGABYTE = 1_000_000_000


def check_python() -> list[Finding]:
    """The interpreter is new enough."""
    told = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] >= OLDEST_PYTHON:
        return [Finding(level="ok", what="python", told=told)]
    return [Finding(level="fail", what="python", told=told, cure="install Python 3.11 or newer")]


def check_libraries() -> list[Finding]:
    """The model libraries are installed; the encoders work, tried in another process."""
    findings = [
        Finding(level="fail", what=name, told="not installed", cure=f"pip install {name}")
        for name in ("torch", "diffusers", "transformers")
        if find_spec(name) is None
    ]
    findings.append(
        _probe("png", level="warn", cure="pip install fpng-py; Pillow is used, twenty times slower")
    )
    findings.append(_probe("video", level="fail", cure="pip install av, which carries its FFmpeg"))
    return findings


def check_ports(config: Config) -> list[Finding]:
    """Both ports are free."""
    ports = {"WORKER_PORT": config.worker_port, "CHAT_WORKER_PORT": config.chat_worker_port}
    return [_port(variable, config.bind_host, port) for variable, port in ports.items()]


def check_state(config: Config, clock: Clock) -> list[Finding]:
    """The state folder can be written, has room, and its disk keeps its promises fast enough."""
    folder = config.state_dir.expanduser().resolve()
    present = next(place for place in (folder, *folder.parents) if place.exists())
    try:
        rate = _fsyncs_per_s(present, clock)
    except OSError as error:
        cure = "let STATE_DIR name a folder that can be written"
        told = f"{folder}: {error.strerror}"
        return [Finding(level="fail", what="state folder", told=told, cure=cure)]
    slow = rate < SLOW_FSYNC_PER_S
    return [
        Finding(level="ok", what="state folder", told=str(folder)),
        _space(present),
        Finding(
            level="warn" if slow else "ok",
            what="fsync",
            told=f"{rate:.0f} a second",
            cure="put STATE_DIR on a faster disk" if slow else "",
        ),
    ]


def _probe(name: str, *, level: Level, cure: str) -> Finding:
    command = [sys.executable, "-m", "ourvidz_worker.cli.probe", name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PROBE_S)
    except subprocess.TimeoutExpired:
        return Finding(level=level, what=name, told=f"no answer in {PROBE_S} s", cure=cure)
    if done.returncode == 0:
        return Finding(level="ok", what=name, told=done.stdout.strip())
    reason = (done.stderr.strip().splitlines() or ["it fails"])[-1]
    return Finding(level=level, what=name, told=reason, cure=cure)


def _port(variable: str, host: str, port: int) -> Finding:
    try:
        with socket.create_server((host, port)):
            return Finding(level="ok", what=variable, told=f"{port} is free")
    except OSError as error:
        cure = f"stop what uses it, or set {variable}"
        told = f"{host}:{port}: {error.strerror}"
        return Finding(level="fail", what=variable, told=told, cure=cure)


def _space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    told = f"{free / GIGABYTE:.1f} GB free"
    if free >= LITTLE_SPACE:
        return Finding(level="ok", what="space", told=told)
    level: Level = "fail" if free < NO_SPACE else "warn"
    return Finding(level=level, what="space", told=told, cure="make room, or move STATE_DIR")


def _fsyncs_per_s(folder: Path, clock: Clock) -> float:
    with tempfile.TemporaryFile(dir=folder) as file:
        begun = clock.monotonic()
        for _ in range(FSYNCS):
            file.write(b"\0" * 512)
            file.flush()
            os.fsync(file.fileno())
        taken = clock.monotonic() - begun
    return FSYNCS / taken if taken > 0 else float("inf")
