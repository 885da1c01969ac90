"""Which of the known things people ask for, and how often training draws each.

The pack knows 1,600 things. A small model that draws them all equally often learns the outline of
none: everyday things come up many times as often as the rest, the twenty that the probe judges
a little more often still. Clips, which cost more to learn from, keep to fewer things than pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tools.pocket.sprites import SpriteInfo

# The labels of the probe's objects (`probe.OBJECTS`).
JUDGED = frozenset(
    {
        *("cat", "dog", "automobile", "house", "deciduous tree", "fish", "sun", "banana"),
        *("rocket", "pizza", "turtle", "robot", "sailboat", "birthday cake", "airplane"),
        *("teddy bear", "elephant", "watermelon", "hot beverage", "alarm clock"),
    }
)
COMMON_FILE = Path(__file__).with_name("common-things.txt")
FILMED_FILE = Path(__file__).with_name("filmed-things.txt")
JUDGED_SHARE, COMMON_SHARE = 0.18, 0.62
JUDGED_IN_CLIPS, FILMED_SHARE = 0.3, 0.6


def drawing_weights(infos: Sequence[SpriteInfo]) -> list[float]:
    """Return how likely pictures show each sprite; the weights add up to 1.

    The judged things have `JUDGED_SHARE` of all draws, the common ones `COMMON_SHARE`, the others
    the rest, each in proportion to its own weight. A class that is absent leaves its share to the
    others.
    """
    return _weights(infos, common_things(), JUDGED_SHARE, COMMON_SHARE)


def filming_weights(infos: Sequence[SpriteInfo]) -> list[float]:
    """Return how likely clips show each sprite; as `drawing_weights`, with fewer common things."""
    return _weights(infos, filmed_things(), JUDGED_IN_CLIPS, FILMED_SHARE)


def common_things() -> frozenset[str]:
    """Return the labels of everyday things, one a line in the file; ``#`` begins a remark."""
    return _labels(COMMON_FILE)


def filmed_things() -> frozenset[str]:
    """Return the labels of those that clips show often."""
    return _labels(FILMED_FILE)


def _labels(path: Path) -> frozenset[str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _weights(
    infos: Sequence[SpriteInfo], common: frozenset[str], judged_share: float, common_share: float
) -> list[float]:
    shares = {
        "judged": judged_share,
        "common": common_share,
        "other": 1.0 - judged_share - common_share,
    }
    classes = [_class_of(info.label, common) for info in infos]
    sums = dict.fromkeys(shares, 0.0)
    for info, own in zip(infos, classes, strict=True):
        sums[own] += info.weight
    present = sum(share for name, share in shares.items() if sums[name] > 0)
    return [
        shares[own] / present * info.weight / sums[own]
        for info, own in zip(infos, classes, strict=True)
    ]


def _class_of(label: str, common: frozenset[str]) -> str:
    if label in JUDGED:
        return "judged"
    return "common" if label in common else "other"
