"""Text generated for a caller who waits."""

from typing import Literal

import msgspec


class TextReply(msgspec.Struct, frozen=True, kw_only=True):
    """One generated text; `generation_s` counts from the engine's start."""

    text: str
    tokens: int
    prompt_tokens: int
    finish_reason: Literal["stop", "length"]
    generation_s: float
    model_name: str
    active_model: Literal["instruct", "base"]
    effective: dict[str, str | int | float | bool | None]
    truncated: bool = False
    dropped_messages: int = 0
