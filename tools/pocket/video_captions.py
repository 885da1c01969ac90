"""How a clip is asked for: the thing, its motion, the background's colour, in varied order."""

from __future__ import annotations

import random

from tools.pocket.captions import (
    COLOUR_NAMES,
    COLOUR_WORDS,
    COLOURS,
    PLAIN,
    PLAIN_RGB,
    CaptionGrammar,
    is_held_out,
    with_article,
)
from tools.pocket.motion import MOTIONS
from tools.pocket.sprites import SpriteInfo

PALETTE: tuple[tuple[int, int, int], ...] = (*COLOURS.values(), PLAIN_RGB)
PLAIN_SHARE = 0.2
_PREFIXES = ("a clip of ", "a video of ", "animation of ", "emoji of ", "3d render of ")
_ARTICLE_SHARE, _THE_SHARE = 0.62, 0.72
_PREFIX_SHARE, _KEYWORD_SHARE, _CAPITAL_SHARE, _FIRST_WORD_SHARE = 0.1, 0.04, 0.06, 0.8


class MotionGrammar:
    """Words clips and chooses colours, from one seeded generator."""

    def __init__(self, infos: tuple[SpriteInfo, ...], seed: int) -> None:
        self._infos = infos
        self._random = random.Random(seed)  # noqa: S311 - sampling, not secrecy
        self._names = CaptionGrammar(infos, seed + 1)

    def colour(self, sprite: int) -> int:
        """Return a background index that training may show with this sprite."""
        if self._happens(PLAIN_SHARE):
            return PLAIN
        while True:
            colour = self._random.randrange(len(COLOUR_NAMES))
            if not is_held_out(self._infos[sprite].label, colour):
                return colour

    def word(self, sprite: int, kind: int, colour: int) -> str:
        """Return a caption of sprite and motion; with ``PLAIN`` it names no colour."""
        phrase = self._random.choice(MOTIONS[kind].phrases)
        subject = self._subject(sprite)
        text = f"{subject} {phrase}" if phrase else subject
        if colour != PLAIN:
            text = self._on_colour(subject, phrase, text, colour)
        if self._happens(_PREFIX_SHARE):
            text = self._random.choice(_PREFIXES) + text
        if self._happens(_CAPITAL_SHARE):
            text += "."
        return text

    def _subject(self, sprite: int) -> str:
        name, roll = self._names.describe(sprite), self._random.random()
        if roll < _ARTICLE_SHARE:
            name = with_article(name)
        elif roll < _THE_SHARE:
            name = f"the {name}"
        keywords = self._infos[sprite].keywords
        if keywords and self._happens(_KEYWORD_SHARE):
            name = f"{name}, {self._random.choice(keywords)},"
        return name

    def _on_colour(self, subject: str, phrase: str, text: str, colour: int) -> str:
        name = COLOUR_NAMES[colour]
        words = COLOUR_WORDS.get(name, (name,))
        word = words[0] if self._happens(_FIRST_WORD_SHARE) else self._random.choice(words)
        ground = f"on {with_article(word)} background"
        forms = {
            f"{text} {ground}": 0.55,
            f"{text}, {word} background": 0.14,
            f"{text} on {word}": 0.08,
            f"{text} with {with_article(word)} background": 0.06,
            f"{word} background, {text}": 0.05,
            f"{subject} {ground} {phrase}".strip(): 0.07,
            f"{subject} {ground}, {phrase}".strip(", "): 0.05,
        }
        return self._random.choices(list(forms), list(forms.values()))[0]

    def _happens(self, share: float) -> bool:
        return self._random.random() < share


def example_captions(infos: tuple[SpriteInfo, ...], count: int, seed: int) -> list[str]:
    """Return captions that mention every sprite about equally often, for the tokenizer."""
    grammar = MotionGrammar(infos, seed)
    chooser = random.Random(seed)  # noqa: S311 - sampling, not secrecy
    captions = []
    for index in range(count):
        sprite = index % len(infos)
        kind = chooser.randrange(len(MOTIONS))
        captions.append(grammar.word(sprite, kind, grammar.colour(sprite)))
    for info in infos:
        captions += [info.label, *info.names, *info.keywords]
    return captions
