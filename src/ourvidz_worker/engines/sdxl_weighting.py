r"""Weights written into a prompt (S-4): A1111's brackets and Compel's signs, read once into spans.

`(words:1.2)` and `(words)1.2` weigh by a number, `(words)` by 1.1, `[words]` by 1 / 1.1;
`word++` and `(words)++` by 1.1 for each sign, `word--` and `(words)--` by 0.9 for each. Nested
weights multiply. `\(` is a bracket in the text, as is a bracket without its partner.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

RAISE, LOWER_BRACKET, LOWER_SIGN = 1.1, 1 / 1.1, 0.9
METHOD = "h_empty + w * (h - h_empty)"
"""How a weight acts on hidden states; named in the receipt."""

_OPENING = {")": "(", "]": "["}
_ESCAPABLE = "()[]\\"
_NUMBER = r"\d+(?:\.\d+)?|\.\d+"
_INNER_WEIGHT = re.compile(rf":\s*({_NUMBER})\s*$")
_OUTER_WEIGHT = re.compile(rf"({_NUMBER})(?![\w.])")
_SIGNS = re.compile(r"(?<![+-])(\++|-+)(?=$|[\s,.;:!?)\]])")
_LAST_WORD = re.compile(r"[^\s,.;:!?]+$")


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece of a prompt and how much it counts."""

    text: str
    weight: float = 1.0


def unweighted(text: str) -> tuple[Span, ...]:
    """The text as it is, every character literal."""
    return (Span(text=text),)


def parse_weights(text: str) -> tuple[Span, ...]:
    """The spans of a text with weights; neighbours of equal weight are one span."""
    spans = _Reader(text).read()
    merged: list[Span] = []
    for span in spans:
        if merged and merged[-1].weight == span.weight:
            merged[-1] = Span(text=merged[-1].text + span.text, weight=span.weight)
        else:
            merged.append(span)
    return tuple(merged) or unweighted("")


def has_weights(spans: Sequence[Span]) -> bool:
    """True when a piece counts otherwise than the rest."""
    return any(span.weight != 1.0 for span in spans)


def pair_brackets(text: str) -> dict[int, int]:
    """Opening place to closing place of every bracket that has its partner."""
    pairs: dict[int, int] = {}
    waiting: list[int] = []
    index = 0
    while index < len(text):
        character = text[index]
        if character == "\\":
            index += 1
        elif character in _OPENING.values():
            waiting.append(index)
        elif character in _OPENING:
            _close(text, index, waiting, pairs)
        index += 1
    return pairs


def _close(text: str, index: int, waiting: list[int], pairs: dict[int, int]) -> None:
    wanted = _OPENING[text[index]]
    partner = next((at for at in reversed(waiting) if text[at] == wanted), None)
    if partner is not None:
        pairs[partner] = index
        # What was opened inside and never closed stays text.
        del waiting[waiting.index(partner) :]


class _Reader:
    """Walks over a text once, from bracket to bracket."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._pairs = pair_brackets(text)
        self._spans: list[Span] = []
        self._literal = ""

    def read(self) -> list[Span]:
        self._range(0, len(self._text), 1.0)
        return self._spans

    def _range(self, index: int, end: int, weight: float) -> None:
        while index < end:
            character = self._text[index]
            signs = _SIGNS.match(self._text, index, end)
            if character == "\\" and self._text[index + 1 : index + 2] in set(_ESCAPABLE):
                self._literal += self._text[index + 1]
                index += 2
            elif index in self._pairs:
                index = self._group(index, end, weight)
            elif signs and _LAST_WORD.search(self._literal):
                self._weigh_last_word(weight, _sign_weight(signs[1]))
                index = signs.end()
            else:
                self._literal += character
                index += 1
        self._flush(weight)

    def _group(self, index: int, end: int, weight: float) -> int:
        """Read one bracket and what stands directly behind it; return the place after both."""
        self._flush(weight)
        close = self._pairs[index]
        if self._text[index] == "[":
            self._range(index + 1, close, weight * LOWER_BRACKET)
            return close + 1
        signs = _SIGNS.match(self._text, close + 1, end)
        outer = _OUTER_WEIGHT.match(self._text, close + 1, end)
        inner = _INNER_WEIGHT.search(self._text, index + 1, close)
        if signs:
            self._range(index + 1, close, weight * _sign_weight(signs[1]))
            return signs.end()
        if inner:
            self._range(index + 1, inner.start(), weight * float(inner[1]))
            return close + 1
        factor = float(outer[1]) if outer else RAISE
        self._range(index + 1, close, weight * factor)
        return outer.end() if outer else close + 1

    def _weigh_last_word(self, weight: float, factor: float) -> None:
        before = _LAST_WORD.sub("", self._literal)
        word = self._literal[len(before) :]
        self._literal = before
        self._flush(weight)
        self._spans.append(Span(text=word, weight=weight * factor))

    def _flush(self, weight: float) -> None:
        if self._literal:
            self._spans.append(Span(text=self._literal, weight=weight))
        self._literal = ""


def _sign_weight(signs: str) -> float:
    step = RAISE if signs[0] == "+" else LOWER_SIGN
    return step ** len(signs)
