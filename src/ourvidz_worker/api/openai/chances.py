"""The chances of tokens, in both forms that OpenAI's clients read."""

from collections.abc import Sequence

import msgspec

from ourvidz_worker.domain.text_reply import TokenChance, TokenChoice

LEAST = -9999.0
"""Stands for the logarithm of no chance at all, which JSON has no number for."""


class Chance(msgspec.Struct, frozen=True, kw_only=True):
    """A token that might have come."""

    token: str
    logprob: float
    bytes: tuple[int, ...] | None


class ChosenChance(Chance, frozen=True, kw_only=True):
    """A token of the text, and the likeliest in its place."""

    top_logprobs: tuple[Chance, ...]


class TokenChances(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens of an answer, or of a part of it."""

    content: tuple[ChosenChance, ...]
    refusal: None = None


class TextChances(msgspec.Struct, frozen=True, kw_only=True):
    """The same in columns; `text_offset` counts characters from the text's beginning."""

    tokens: tuple[str, ...]
    token_logprobs: tuple[float, ...]
    top_logprobs: tuple[dict[str, float], ...]
    text_offset: tuple[int, ...]


def token_chances(choices: Sequence[TokenChoice]) -> TokenChances:
    """In the form of chat completions."""
    return TokenChances(content=tuple(map(_chosen, choices)))


def text_chances(choices: Sequence[TokenChoice], begin: int = 0) -> TextChances:
    """In the form of completions; the first token begins at character `begin`."""
    offsets = []
    for choice in choices:
        offsets.append(begin)
        begin += len(choice.token)
    return TextChances(
        tokens=tuple(choice.token for choice in choices),
        token_logprobs=tuple(_logprob(choice) for choice in choices),
        top_logprobs=tuple(map(_row, choices)),
        text_offset=tuple(offsets),
    )


def _chosen(choice: TokenChoice) -> ChosenChance:
    return ChosenChance(
        token=choice.token,
        logprob=_logprob(choice),
        bytes=choice.bytes or None,
        top_logprobs=tuple(
            Chance(token=each.token, logprob=_logprob(each), bytes=each.bytes or None)
            for each in choice.top
        ),
    )


def _row(choice: TokenChoice) -> dict[str, float]:
    """The likeliest and the one drawn; of two that look alike the likelier counts."""
    row: dict[str, float] = {}
    for each in (*choice.top, choice):
        row.setdefault(each.token, _logprob(each))
    return row


def _logprob(chance: TokenChance) -> float:
    return max(chance.logprob, LEAST)
