"""Which model each lane serves, and what its engine is given."""

from pathlib import Path

import msgspec

from ourvidz_worker.config import Config, served_lanes
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.engines import EngineSettings

Options = dict[str, str | int | float | bool]


def engine_of(config: Config, lane: Lane) -> str:
    """The name of the lane's engine."""
    return {
        Lane.IMAGE: config.image_engine,
        Lane.CHAT: config.chat_engine,
        Lane.VIDEO: config.video_engine,
    }[lane]


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
        options=_fake_options(config) if fake else {"base_is_instruct": True} if is_twin else {},
    )


def lanes_with_models(config: Config) -> dict[Lane, EngineSettings]:
    """The lanes that can be served, in the order of the configuration."""
    found = {lane: settings_of(config, lane) for lane in served_lanes(config)}
    return {lane: settings for lane, settings in found.items() if settings is not None}


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
    if not config.fake_options:
        return {}
    try:
        return msgspec.json.decode(config.fake_options, type=Options)
    except msgspec.DecodeError as error:
        raise ConfigError("OURVIDZ_FAKE_OPTIONS: must be a flat JSON object") from error
