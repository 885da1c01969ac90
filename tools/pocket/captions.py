"""The caption grammar: scenes of sprites on backgrounds, and the ways a person would ask for them.

A `Scene` says what is drawn; ``CaptionGrammar.describe`` words it. Drawing lives in ``compose``.
Some pairs of sprite and background colour are held out (`is_held_out`) and never come up in
training, so that asking for them tests composition.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass

from tools.pocket.sprites import SpriteInfo
from tools.pocket.vocabulary import drawing_weights

# sRGB centres of the named backgrounds, 0..255. Far enough apart to be told from each other.
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "orange": (245, 134, 32),
    "yellow": (250, 212, 50),
    "green": (52, 160, 74),
    "teal": (30, 160, 160),
    "blue": (42, 94, 214),
    "purple": (128, 62, 180),
    "pink": (246, 138, 184),
    "brown": (122, 78, 46),
    "black": (18, 18, 22),
    "white": (252, 252, 252),
    "gray": (140, 142, 148),
}
COLOUR_NAMES = tuple(COLOURS)
COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "gray": ("gray", "grey"),
    "teal": ("teal", "turquoise", "cyan"),
    "purple": ("purple", "violet"),
    "red": ("red", "crimson"),
}
# The background nobody asked for: soft, light, neutral.
PLAIN = len(COLOUR_NAMES)
PLAIN_RGB = (233, 237, 244)
FLAT, GRADIENT = 0, 1
HELD_OUT_ONE_IN = 10
SMALL_SIZE, NORMAL_SIZE, LARGE_SIZE = 0.45, 0.76, 0.98
MAX_SPRITES = 3
_NUMBERS = {1: ("a", "one", "1"), 2: ("two", "2", "a pair of"), 3: ("three", "3")}
_PREFIXES = ("photo of ", "picture of ", "image of ", "emoji of ", "icon of ", "3d render of ")
_SMALL_WORDS = ("small", "tiny", "little")
_LARGE_WORDS = ("large", "big", "huge")
_SINGLE, _SIDE, _COUNT, _PAIR = "single", "side", "count", "pair"
_LAYOUT_WEIGHTS = {_SINGLE: 0.68, _SIDE: 0.09, _COUNT: 0.1, _PAIR: 0.13}
_NO_COLOUR_SHARE, _HIDDEN_COLOUR_SHARE = 0.22, 0.03
_SIZE_SHARE, _PREFIX_SHARE, _GRADIENT_SHARE = 0.16, 0.15, 0.4
_KEYWORD_SHARE, _OTHER_NAME_SHARE, _LONE_KEYWORD_SHARE = 0.1, 0.4, 0.03


@dataclass(frozen=True, kw_only=True)
class Placement:
    """One drawn sprite: its index, its column of ``columns``, and its size within the column."""

    sprite: int
    column: int
    columns: int
    size: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What is drawn: sprites from left to right, a colour index (or ``PLAIN``), and the fill."""

    placements: tuple[Placement, ...]
    colour: int
    fill: int


def is_held_out(label: str, colour: int) -> bool:
    """Return whether this sprite label and colour index are never shown together in training."""
    if colour == PLAIN:
        return False
    key = f"{label}|{COLOUR_NAMES[colour]}".encode()
    return int.from_bytes(hashlib.sha256(key).digest()[:4], "big") % HELD_OUT_ONE_IN == 0


def with_article(name: str) -> str:
    """Return ``name`` with its indefinite article."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def plural(name: str) -> str:
    """Return the plural of a short English noun phrase."""
    if name.endswith(("s", "x", "sh", "ch")):
        return f"{name}es" if not name.endswith("s") or name.endswith("ss") else name
    if name.endswith("y") and name[-2:-1] not in {"a", "e", "o", "u"}:
        return f"{name[:-1]}ies"
    return f"{name}s"


class CaptionGrammar:
    """Draws scenes and words them, from one seeded generator."""

    def __init__(self, infos: tuple[SpriteInfo, ...], seed: int) -> None:
        self._infos = infos
        self._random = random.Random(seed)  # noqa: S311 - sampling, not secrecy
        self._indices = list(range(len(infos)))
        self._weights = list(itertools.accumulate(drawing_weights(infos)))

    def draw(self) -> tuple[str, Scene]:
        """Return one training caption with its scene, never a held-out composition."""
        layout = self._pick(_LAYOUT_WEIGHTS)
        sprites = self._sprites(2 if layout == _PAIR else 1)
        colour, said = self._colour(sprites)
        fill = GRADIENT if self._happens(_GRADIENT_SHARE) or colour == PLAIN else FLAT
        size, size_word = self._size(layout)
        subject, placements = self._arrange(layout, sprites, size, size_word)
        scene = Scene(placements=placements, colour=colour, fill=fill)
        return self._finish(subject, scene, said), scene

    def describe(self, sprite: int) -> str:
        """Return one way to name a sprite, without an article."""
        info = self._infos[sprite]
        names = [name for name in info.names if len(name) > 1]
        name = info.label
        if names and self._happens(_OTHER_NAME_SHARE):
            # Earlier names are the commoner ones.
            name = names[min(int(self._random.expovariate(1.0)), len(names) - 1)]
        if info.keywords and self._happens(_LONE_KEYWORD_SHARE):
            name = self._random.choice(info.keywords[:4])
        return name

    def _sprites(self, count: int) -> list[int]:
        chosen = self._random.choices(self._indices, cum_weights=self._weights, k=count)
        return chosen if len(set(chosen)) == count else self._sprites(count)

    def _colour(self, sprites: list[int]) -> tuple[int, bool]:
        if self._happens(_NO_COLOUR_SHARE):
            return PLAIN, False
        labels = [self._infos[sprite].label for sprite in sprites]
        allowed = [
            index
            for index in range(len(COLOUR_NAMES))
            if not any(is_held_out(label, index) for label in labels)
        ]
        said = not self._happens(_HIDDEN_COLOUR_SHARE)
        return (self._random.choice(allowed), said) if allowed else (PLAIN, False)

    def _size(self, layout: str) -> tuple[float, str]:
        if layout == _PAIR or not self._happens(_SIZE_SHARE):
            return NORMAL_SIZE, ""
        if self._happens(0.5):
            return SMALL_SIZE, self._random.choice(_SMALL_WORDS)
        return LARGE_SIZE, self._random.choice(_LARGE_WORDS)

    def _arrange(
        self, layout: str, sprites: list[int], size: float, size_word: str
    ) -> tuple[str, tuple[Placement, ...]]:
        first = sprites[0]
        name = " ".join(word for word in (size_word, self.describe(first)) if word)
        if layout == _COUNT:
            count = self._random.choice((2, 2, 3))
            number = self._random.choice(_NUMBERS[count])
            return f"{number} {plural(name)}", _row([first] * count, size)
        if layout == _PAIR:
            return self._pair(first, name, sprites[1]), _row(sprites, size)
        words = self._with_keywords(first, self._article(name))
        if layout == _SIDE:
            column = self._random.randrange(2)
            side = ("left", "right")[column]
            phrase = self._random.choice(("on the {}", "on the {} side", "at the {}", "{} side"))
            where = phrase.format(side)
            place = Placement(sprite=first, column=column, columns=2, size=size)
            return f"{words} {where}", (place,)
        return words, (Placement(sprite=first, column=0, columns=1, size=size),)

    def _pair(self, first: int, name: str, second: int) -> str:
        other = self._article(self.describe(second))
        one = self._article(name)
        forms = (
            f"{one} and {other}",
            f"{one} next to {other}",
            f"{one} to the left of {other}",
            f"{other} to the right of {one}",
            f"{one} on the left and {other} on the right",
            f"{one} on the left, {other} on the right",
            f"{one}, {other}",
        )
        return self._random.choice(forms)

    def _article(self, name: str) -> str:
        roll = self._random.random()
        if roll < 0.55:  # noqa: PLR2004 - share of captions with an indefinite article
            return with_article(name)
        return f"the {name}" if roll < 0.62 else name  # noqa: PLR2004 - "the", else bare

    def _with_keywords(self, sprite: int, words: str) -> str:
        keywords = self._infos[sprite].keywords
        if not keywords or not self._happens(_KEYWORD_SHARE):
            return words
        count = min(len(keywords), self._random.randint(1, 3))
        return ", ".join([words, *self._random.sample(keywords, count)])

    def _finish(self, subject: str, scene: Scene, said: bool) -> str:
        if self._happens(_PREFIX_SHARE):
            subject = self._random.choice(_PREFIXES) + subject
        if said:
            subject = self._on_colour(subject, scene)
        elif scene.colour == PLAIN and self._happens(0.1):
            subject += self._random.choice((" on a plain background", ", plain background"))
        roll = self._random.random()
        if roll < 0.06:  # noqa: PLR2004 - share of captions typed as sentences
            subject = subject[0].upper() + subject[1:]
        return subject + "." if roll < 0.03 else subject  # noqa: PLR2004 - half with a full stop

    def _on_colour(self, subject: str, scene: Scene) -> str:
        name = COLOUR_NAMES[scene.colour]
        words = COLOUR_WORDS.get(name, (name,))
        word = words[0] if self._happens(0.75) else self._random.choice(words)
        kind = "background"
        if scene.fill == GRADIENT and self._happens(0.25):
            kind = self._random.choice(("gradient background", "gradient"))
        forms = {
            f"{subject} on {with_article(word)} {kind}": 0.45,
            f"{subject} on {word}": 0.14,
            f"{subject}, {word} {kind}": 0.18,
            f"{subject} on {word} {kind}": 0.06,
            f"{subject} with {with_article(word)} {kind}": 0.08,
            f"{subject} in front of {with_article(word)} {kind}": 0.05,
            f"{word} {kind}, {subject}": 0.04,
        }
        return self._pick(forms)

    def _pick(self, weights: dict[str, float]) -> str:
        return self._random.choices(list(weights), list(weights.values()))[0]

    def _happens(self, share: float) -> bool:
        return self._random.random() < share


def _row(sprites: list[int], size: float) -> tuple[Placement, ...]:
    columns = len(sprites)
    return tuple(
        Placement(sprite=sprite, column=column, columns=columns, size=size)
        for column, sprite in enumerate(sprites)
    )
