"""Which model each lane serves, and what its engine is given."""

from importlib.util import find_spec
from pathlib import Path

import msgspec

from ourvidz_worker.config import Config, served_lanes, worker_environment
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.residency.nvml import NvmlMeter

Options = dict[str, str | int | float | bool]


def engine_of(config: Config, lane: Lane) -> str:
    """The name of the lane's engine."""
    return {
        Lane.IMAGE: config.image_engine,
        Lane.CHAT: _chat_engine(config),
        Lane.VIDEO: config.video_engine,
    }[lane]


def card_of(config: Config) -> str:
    """The card as the driver counts: the workers see those of CUDA_VISIBLE_DEVICES alone."""
    number = int(config.device.partition(":")[2] or 0)
    visible = worker_environment(threads=1).get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in visible.split(",") if name.strip()]
    return names[number] if number < len(names) else str(number)


def settings_of(config: Config, lane: Lane) -> EngineSettings | None:
    """What the lane's engine is given; None when there is no model for it.

    Raises `ConfigError` naming the variable whose path does not exist.
    """
    fake = engine_of(config, lane) == "fake"
    model, second = _model_of(config, lane), _second_model_of(config, lane)
    if model is None and not fake:
        return None
    # One folder under both names is one model in memory that answers for both, and says so.
    is_twin = lane is Lane.CHAT and second is not None and second == model
    return EngineSettings(
        model=model,
        second_model=None if is_twin else second,
        device=config.device or "auto",
        dtype=config.dtype or "auto",
        threads=config.threads,
        memory_fraction=_fraction_of(config, lane),
        options=_fake_options(config) if fake else _options(config, lane, is_twin=is_twin),
    )


def lanes_with_models(config: Config) -> dict[Lane, EngineSettings]:
    """The lanes that can be served, in the order of the configuration."""
    found = {lane: settings_of(config, lane) for lane in served_lanes(config)}
    return {lane: settings for lane, settings in found.items() if settings is not None}


def _chat_engine(config: Config) -> str:
    """vLLM needs a card and is not part of the base install; without either, the portable one."""
    if config.chat_engine != "auto":
        return config.chat_engine
    if find_spec("vllm") is None or config.device.startswith("cpu"):
        return "chat_transformers"
    has_card = config.device.startswith("cuda") or NvmlMeter.is_there(card_of(config))
    return "chat_vllm" if has_card else "chat_transformers"


def _options(config: Config, lane: Lane, *, is_twin: bool) -> Options:
    if lane is not Lane.CHAT:
        return {}
    given = _object_of("OURVIDZ_CHAT_OPTIONS", config.chat_options)
    return {"base_is_instruct": True, **given} if is_twin else given


def _model_of(config: Config, lane: Lane) -> Path | None:
    variable, text = {
        Lane.IMAGE: ("SDXL_MODEL_PATH", config.sdxl_model_path),
        Lane.CHAT: ("QWEN_INSTRUCT_PATH", config.qwen_instruct_path),
        Lane.VIDEO: ("WAN_MODEL_PATH", config.wan_model_path),
    }[lane]
    return _existing(variable, text) if text else None


def _second_model_of(config: Config, lane: Lane) -> Path | None:
    variable, text = {
        Lane.IMAGE: ("", ""),
        Lane.CHAT: ("QWEN_BASE_PATH", config.qwen_base_path),
        Lane.VIDEO: ("WAN_VACE_MODEL_PATH", config.wan_vace_model_path),
    }[lane]
    return _existing(variable, text) if text else None


def _existing(variable: str, text: str) -> Path:
    path = Path(text).expanduser().resolve()
    if not path.exists():
        raise ConfigError(f"{variable}: there is no such file or folder")
    return path


def _fraction_of(config: Config, lane: Lane) -> float:
    return {
        Lane.IMAGE: config.sdxl_memory_fraction,
        Lane.CHAT: config.chat_memory_fraction,
        Lane.VIDEO: config.wan_memory_fraction,
    }[lane]


def _fake_options(config: Config) -> Options:
    return _object_of("OURVIDZ_FAKE_OPTIONS", config.fake_options)


def _object_of(variable: str, text: str) -> Options:
    if not text:
        return {}
    try:
        return msgspec.json.decode(text, type=Options)
    except msgspec.DecodeError as error:
        raise ConfigError(f"{variable}: must be a flat JSON object") from error
