"""Text generated for a caller who waits: in parts as it comes, and whole."""

from typing import Literal

import msgspec


class TokenChance(msgspec.Struct, frozen=True, kw_only=True):
    """A token and the natural logarithm of its chance, before temperature and penalties.

    `bytes` are the token's UTF-8 bytes, which alone need not be a whole character.
    """

    token: str
    logprob: float
    bytes: tuple[int, ...] = ()


class TokenChoice(TokenChance, frozen=True, kw_only=True):
    """A token that was drawn, and the likeliest that might have been, likeliest first."""

    top: tuple[TokenChance, ...] = ()


class TextPart(msgspec.Struct, frozen=True, kw_only=True):
    """New text, and the tokens that came with it where their chances were asked for."""

    text: str
    choices: tuple[TokenChoice, ...] = ()


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
    cached_tokens: int = 0
    """Tokens of the prompt that an earlier text had left computed."""
    choices: tuple[TokenChoice, ...] = ()
