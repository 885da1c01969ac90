"""Text engines: token ids in, token ids out. Choose one by name through `make_text_engine`."""

from importlib import import_module

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.engines.text.base import Footprint, TextEngine, Token, Tokens, TokenStream
from ourvidz_worker.engines.text.settings import TextSettings

#: Name to `module:class`; each class takes one `TextSettings`.
TEXT_ENGINES = {
    "transformers": "ourvidz_worker.engines.text.transformers:TransformersText",
    "vllm": "ourvidz_worker.engines.text.vllm:VllmText",
}


def make_text_engine(name: str, settings: TextSettings) -> TextEngine:
    """Build the text engine `name`; nothing is loaded before its `load`."""
    if name not in TEXT_ENGINES:
        raise ConfigError(
            f"text engine must be one of {', '.join(sorted(TEXT_ENGINES))}", field="engine"
        )
    module, _, attribute = TEXT_ENGINES[name].partition(":")
    engine: TextEngine = getattr(import_module(module), attribute)(settings)
    return engine


__all__ = [
    "TEXT_ENGINES",
    "Footprint",
    "TextEngine",
    "TextSettings",
    "Token",
    "TokenStream",
    "Tokens",
    "make_text_engine",
]
