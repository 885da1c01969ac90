"""What a worker process is told at its start: one JSON argument."""

from pathlib import Path

import msgspec

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.engines import EngineSettings


class WorkerSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which engine to run, on what, and where the pod listens (`ipc://…`).

    `drain_s` is the grace of a SIGTERM that comes from elsewhere than the pod.
    """

    lane: Lane
    address: str
    engine: str
    settings: EngineSettings
    parent_pid: int
    drain_s: float = 30.0


def write_spec(spec: WorkerSpec) -> str:
    """The process's one argument."""
    return msgspec.json.encode(spec, enc_hook=_write_path).decode()


def read_spec(argument: str) -> WorkerSpec:
    """What `write_spec` wrote. Raises `ConfigError`."""
    try:
        return msgspec.json.decode(argument, type=WorkerSpec, dec_hook=_read_path)
    except msgspec.DecodeError as error:
        raise ConfigError(f"the worker's argument is wrong: {error}") from error


def _write_path(value: object) -> object:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"no JSON for {type(value).__name__}")


def _read_path(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"no {kind.__name__} in JSON")
