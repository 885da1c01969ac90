"""Every setting, in one frozen table; this module alone reads the environment.

A malformed value, or a variable with our prefix that is not in the table, is fatal and named.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import msgspec

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.lane import Lane

PREFIX = "OURVIDZ_"


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the table: a field of `Config`, its variable, and its meaning in one line."""

    field: str
    variable: str
    meaning: str


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a pod; the defaults are those of a fresh machine (embedded profile)."""

    state_dir: Path = Path("state")
    worker_id: str = ""
    bind_host: str = "127.0.0.1"
    worker_port: int = 7860
    chat_worker_port: int = 7861
    auth_mode: Literal["compat", "required", "open"] = "compat"
    wan_worker_api_key: str = ""
    chat_worker_api_key: str = ""
    sdxl_worker_api_key: str = ""
    callback_url: str = ""
    job_callback_secret: str = ""
    lanes: str = "image,chat,video"
    image_engine: str = "sdxl"
    chat_engine: str = "chat_transformers"
    video_engine: str = "wan"
    sdxl_model_path: str = ""
    wan_model_path: str = ""
    wan_vace_model_path: str = ""
    qwen_instruct_path: str = ""
    qwen_base_path: str = ""
    device: str = ""
    dtype: str = ""
    threads: int = 1
    sdxl_memory_fraction: float = 0.21
    chat_memory_fraction: float = 0.31
    wan_memory_fraction: float = 0.63
    drain_timeout_s: float = 30.0
    lease_ttl_s: float = 60.0
    max_job_attempts: int = 3
    chat_request_timeout_s: float = 90.0
    chat_max_output_tokens: int = 4096
    wan_max_frames: int = 161
    reference_max_bytes: int = 52_428_800
    start_timeout_s: float = 300.0
    fake_options: str = ""


SETTINGS: tuple[Setting, ...] = tuple(
    Setting(field=field, variable=variable, meaning=meaning)
    for field, variable, meaning in (
        ("state_dir", "STATE_DIR", "folder of the queue, the results and the admin key"),
        ("worker_id", "WORKER_ID", "name of this pod in callbacks; default: host name + random"),
        ("bind_host", "BIND_HOST", "address to listen on"),
        ("worker_port", "WORKER_PORT", "port of the image and video side"),
        ("chat_worker_port", "CHAT_WORKER_PORT", "port of the chat side"),
        ("auth_mode", "WORKER_AUTH_MODE", "compat, required or open"),
        ("wan_worker_api_key", "WAN_WORKER_API_KEY", "key; embedded default: made at first start"),
        ("chat_worker_api_key", "CHAT_WORKER_API_KEY", "second key that is accepted"),
        ("sdxl_worker_api_key", "SDXL_WORKER_API_KEY", "third key that is accepted"),
        ("callback_url", "CALLBACK_URL", "where callbacks go; none are owed without it"),
        ("job_callback_secret", "JOB_CALLBACK_SECRET", "signs callbacks (HMAC-SHA256)"),
        ("lanes", "OURVIDZ_LANES", "lanes this pod serves, comma separated"),
        ("image_engine", "OURVIDZ_IMAGE_ENGINE", "engine of the image lane"),
        ("chat_engine", "OURVIDZ_CHAT_ENGINE", "engine of the chat lane"),
        ("video_engine", "OURVIDZ_VIDEO_ENGINE", "engine of the video lane"),
        ("sdxl_model_path", "SDXL_MODEL_PATH", "SDXL checkpoint: folder or safetensors file"),
        ("wan_model_path", "WAN_MODEL_PATH", "Wan checkpoint folder"),
        ("wan_vace_model_path", "WAN_VACE_MODEL_PATH", "Wan VACE checkpoint folder"),
        ("qwen_instruct_path", "QWEN_INSTRUCT_PATH", "chat model folder"),
        ("qwen_base_path", "QWEN_BASE_PATH", "base model folder"),
        ("device", "OURVIDZ_DEVICE", "cpu or cuda; default: cuda when there is one"),
        ("dtype", "OURVIDZ_DTYPE", "float32 or bfloat16; default: by device"),
        ("threads", "OURVIDZ_THREADS", "CPU threads of each worker"),
        ("sdxl_memory_fraction", "SDXL_MEMORY_FRACTION", "share of the card for the image worker"),
        ("chat_memory_fraction", "CHAT_MEMORY_FRACTION", "share of the card for the chat worker"),
        ("wan_memory_fraction", "WAN_MEMORY_FRACTION", "share of the card for the video worker"),
        ("drain_timeout_s", "DRAIN_TIMEOUT_S", "how long a stopping pod lets work finish"),
        ("lease_ttl_s", "LEASE_TTL_S", "how long a job stays ours without a heartbeat"),
        ("max_job_attempts", "MAX_JOB_ATTEMPTS", "tries before a job is failed"),
        ("chat_request_timeout_s", "CHAT_REQUEST_TIMEOUT_S", "deadline of one text request"),
        ("chat_max_output_tokens", "CHAT_MAX_OUTPUT_TOKENS", "largest max_tokens accepted"),
        ("wan_max_frames", "WAN_MAX_FRAMES", "longest clip accepted, frames"),
        ("reference_max_bytes", "REFERENCE_MAX_BYTES", "largest reference picture, bytes"),
        ("start_timeout_s", "OURVIDZ_START_TIMEOUT_S", "how long a worker may take to get ready"),
        ("fake_options", "OURVIDZ_FAKE_OPTIONS", "options of the fake engine, JSON object"),
    )
)


class ClientSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the command line finds a pod: its address, its key, and where the key may lie."""

    url: str
    key: str
    state_dir: Path


#: The command line's own variables: a pod tolerates them and has no use for them.
CLIENT_VARIABLES: tuple[Setting, ...] = (
    Setting(field="url", variable="OURVIDZ_URL", meaning="address of the pod to talk to"),
    Setting(field="key", variable="OURVIDZ_KEY", meaning="key; default: STATE_DIR/admin.key"),
)


def read_config(
    environment: Mapping[str, str] | None = None, *, overrides: Mapping[str, str] | None = None
) -> Config:
    """The configuration that the environment describes, variables in `overrides` going first.

    Raises `ConfigError` listing all faults.
    """
    found = {**(os.environ if environment is None else environment), **(overrides or {})}
    known = {setting.variable: setting for setting in SETTINGS}
    tolerated = set(known) | {setting.variable for setting in CLIENT_VARIABLES}
    faults = [
        f"{name} is unknown" for name in found if name.startswith(PREFIX) and name not in tolerated
    ]
    values: dict[str, object] = {}
    for variable, setting in known.items():
        if found.get(variable, "") != "":
            values[setting.field] = found[variable]
    config = _convert(values, faults)
    faults += _contradictions(config)
    if faults:
        raise ConfigError("; ".join(sorted(faults)))
    return config


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


def _contradictions(config: Config) -> list[str]:
    faults = []
    if not set(served_lanes(config)) or len(served_lanes(config)) != len(config.lanes.split(",")):
        faults.append("OURVIDZ_LANES must name lanes among image, chat and video, each once")
    if config.worker_port == config.chat_worker_port and config.worker_port != 0:
        faults.append("WORKER_PORT and CHAT_WORKER_PORT must differ")
    for field in ("drain_timeout_s", "lease_ttl_s", "chat_request_timeout_s", "max_job_attempts"):
        if getattr(config, field) <= 0:
            faults.append(f"{field.upper()} must be above 0")
    return faults


def served_lanes(config: Config) -> tuple[Lane, ...]:
    """The lanes this pod serves, in the order given; a name that is no lane is left out."""
    names = [name.strip() for name in config.lanes.split(",")]
    return tuple(dict.fromkeys(Lane(name) for name in names if name in set(Lane)))


#: What a worker inherits of our environment: nothing that could hold a secret of ours.
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "VIRTUAL_ENV",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "COVERAGE_PROCESS_START",
    "COVERAGE_PROCESS_CONFIG",
)


def worker_environment(*, threads: int) -> dict[str, str]:
    """The environment of a worker process: offline, `threads` CPU threads, the allocator set."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return kept | {
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True",
        "PYTHONUNBUFFERED": "1",
    }
