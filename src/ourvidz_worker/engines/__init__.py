"""Engines: our adapters of model families. Choose one by name through `make_engine`."""

from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.engines.base import Engine, Gate, Product, Stage, Task
from ourvidz_worker.engines.caches import give_back_caches
from ourvidz_worker.engines.text import (
    TEXT_ENGINES,
    Footprint,
    TextEngine,
    TextSettings,
    Token,
    Tokens,
    TokenStream,
    make_text_engine,
)


class EngineSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What wiring passes to an engine: where its model lies and how it may use the machine.

    `model` and `second_model` are folders or safetensors files (Instruct and Base for chat, plain
    and VACE for Wan); `options` are an engine's own, such as the fake engine's step time.
    """

    model: Path | None = None
    second_model: Path | None = None
    device: str = "cpu"
    dtype: str = "float32"
    threads: int = 1
    memory_fraction: float | None = None
    options: dict[str, str | int | float | bool] = {}


#: Name to `module:class` or `module:function`, called with one `EngineSettings`.
ENGINES = {
    "fake": "ourvidz_worker.engines.fake:FakeEngine",
    "chat_transformers": "ourvidz_worker.engines.chat:transformers_chat",
    "chat_vllm": "ourvidz_worker.engines.chat:vllm_chat",
    "sdxl": "ourvidz_worker.engines.sdxl:SdxlEngine",
    "wan": "ourvidz_worker.engines.wan:WanEngine",
}


def make_engine(name: str, settings: EngineSettings) -> Engine[Any]:
    """Build the engine `name`; nothing is loaded before its `load`."""
    if name not in ENGINES:
        raise ConfigError(f"engine must be one of {', '.join(sorted(ENGINES))}", field="engine")
    module, _, attribute = ENGINES[name].partition(":")
    engine: Engine[Any] = getattr(import_module(module), attribute)(settings)
    return engine


__all__ = [
    "ENGINES",
    "TEXT_ENGINES",
    "Engine",
    "EngineSettings",
    "Footprint",
    "Gate",
    "Product",
    "Stage",
    "Task",
    "TextEngine",
    "TextSettings",
    "Token",
    "TokenStream",
    "Tokens",
    "give_back_caches",
    "make_engine",
    "make_text_engine",
]
