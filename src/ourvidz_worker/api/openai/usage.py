"""Tokens read and written, for all texts of one call together."""

from collections.abc import Sequence

import msgspec

from ourvidz_worker.api.text_replies import Written


class PromptDetails(msgspec.Struct, frozen=True, kw_only=True):
    """How many tokens of the prompt an earlier text had left computed."""

    cached_tokens: int


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens read and written; a prompt counts once, however many texts follow it."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


def usage_of(texts: Sequence[Written], each: int) -> Usage:
    """The usage of texts that come in groups of `each`, a prompt to a group."""
    read = sum(text.reply.prompt_tokens for text in texts[::each])
    wrote = sum(text.reply.tokens for text in texts)
    groups = [texts[begin : begin + each] for begin in range(0, len(texts), each)]
    cached = sum(min(text.reply.cached_tokens for text in group) for group in groups)
    return Usage(
        prompt_tokens=read,
        completion_tokens=wrote,
        total_tokens=read + wrote,
        prompt_tokens_details=PromptDetails(cached_tokens=cached),
    )
