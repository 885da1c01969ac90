"""Reading the environment into a configuration.

A malformed value, or a variable with our prefix that is not in the table, is fatal and named.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import msgspec

from ourvidz_worker.config.checks import contradictions
from ourvidz_worker.config.table import CLIENT_VARIABLES, SETTINGS, Config, is_deployed
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.job_types import JOB_TYPES

PREFIX = "OURVIDZ_"
TIMEOUT_PREFIX = "JOB_TIMEOUT_"
EVERYWHERE = "0.0.0.0"  # noqa: S104 - the contract's own bind address of a deployed pod (H-1)


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the command line finds a pod: its address, its key, and where the key may lie."""

    url: str
    key: str
    state_dir: Path


def read_config(
    environment: Mapping[str, str] | None = None, *, overrides: Mapping[str, str] | None = None
) -> Config:
    """The configuration that the environment describes, variables in `overrides` going first.

    Raises `ConfigError` listing all faults.
    """
    config, faults = examine(environment, overrides=overrides)
    if faults:
        raise ConfigError("; ".join(faults))
    return config


def examine(
    environment: Mapping[str, str] | None = None, *, overrides: Mapping[str, str] | None = None
) -> tuple[Config, list[str]]:
    """What can be read, with the default for what is malformed; and all faults, in order."""
    found = {**(os.environ if environment is None else environment), **(overrides or {})}
    known = {name for row in SETTINGS for name in (row.variable, *row.aliases)}
    tolerated = known | {setting.variable for setting in CLIENT_VARIABLES}
    faults = [
        f"{name} is unknown" for name in found if name.startswith(PREFIX) and name not in tolerated
    ]
    values: dict[str, object] = {}
    for setting in SETTINGS:
        given = [found[name] for name in (setting.variable, *setting.aliases) if found.get(name)]
        if given:
            values[setting.field] = given[0]
    values["job_timeouts"] = _job_timeouts(found, faults)
    config = _convert(values, faults)
    if is_deployed(config) and "bind_host" not in values:
        config = msgspec.structs.replace(config, bind_host=EVERYWHERE)
    return config, sorted(faults + contradictions(config))


def read_client_settings(environment: Mapping[str, str] | None = None) -> ClientSettings:
    """What the command line needs to find a pod; the address of the machine's own by default.

    The key is empty when none is set: it may then lie in `STATE_DIR/admin.key`. Raises nothing;
    settings of the pod itself are not judged here.
    """
    found = os.environ if environment is None else environment
    defaults = Config()
    port = found.get("WORKER_PORT") or defaults.worker_port
    return ClientSettings(
        url=found.get("OURVIDZ_URL") or f"http://127.0.0.1:{port}",
        key=found.get("OURVIDZ_KEY") or found.get("WAN_WORKER_API_KEY") or "",
        state_dir=Path(found.get("STATE_DIR") or defaults.state_dir),
    )


def _convert(values: Mapping[str, object], faults: list[str]) -> Config:
    good = dict(values)
    variables = {setting.field: setting.variable for setting in SETTINGS}
    for field, value in values.items():
        try:
            _typed({field: value})
        except msgspec.ValidationError as error:
            faults.append(f"{variables[field]}: {str(error).partition(' - ')[0]}")
            del good[field]
    return _typed(good)


def _typed(values: Mapping[str, object]) -> Config:
    return msgspec.convert(values, Config, strict=False, dec_hook=_path)


def _path(kind: type, value: object) -> Path:
    """The one type of a setting that is not JSON's own."""
    if kind is not Path or not isinstance(value, str):
        raise TypeError
    return Path(value)


def _job_timeouts(found: Mapping[str, str], faults: list[str]) -> dict[str, float]:
    """Deadlines by job type, from the variables that name one."""
    timeouts = {}
    for name, text in found.items():
        kind = name.removeprefix(TIMEOUT_PREFIX).lower()
        if not name.startswith(TIMEOUT_PREFIX) or not text:
            continue
        try:
            timeouts[kind] = msgspec.convert(
                text, Annotated[float, msgspec.Meta(gt=0)], strict=False
            )
        except msgspec.ValidationError:
            faults.append(f"{name}: must be a number of seconds above 0")
        if kind not in JOB_TYPES:
            faults.append(f"{name}: there is no such job type")
    return timeouts
