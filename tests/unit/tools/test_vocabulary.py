"""What training draws how often."""

import pytest
from tools.pocket.probe import OBJECTS
from tools.pocket.sprites import SpriteInfo
from tools.pocket.vocabulary import (
    COMMON_FILE,
    COMMON_SHARE,
    FILMED_SHARE,
    JUDGED,
    JUDGED_IN_CLIPS,
    JUDGED_SHARE,
    common_things,
    drawing_weights,
    filmed_things,
    filming_weights,
)


def sprite(label: str, weight: float = 1.0) -> SpriteInfo:
    return SpriteInfo(code=label, label=label, names=(), keywords=(), group=3, weight=weight)


def test_the_judged_things_are_those_of_the_probe() -> None:
    assert frozenset(OBJECTS.values()) == JUDGED


def test_the_common_things_stand_there_once_and_are_not_judged() -> None:
    lines = COMMON_FILE.read_text(encoding="utf-8").splitlines()
    labels = [line for line in lines if not line.startswith("#")]
    assert len(labels) == len(set(labels)) == len(common_things())
    assert not common_things() & JUDGED


def test_each_class_has_its_share() -> None:
    infos = [sprite("cat"), sprite("frog"), sprite("owl", 3.0), sprite("garlic"), sprite("zzz")]
    weights = drawing_weights(infos)
    assert weights[0] == pytest.approx(JUDGED_SHARE)
    assert weights[1] == pytest.approx(COMMON_SHARE / 4)
    assert weights[2] == pytest.approx(COMMON_SHARE * 3 / 4)
    assert weights[3] == weights[4]
    assert sum(weights) == pytest.approx(1.0)


def test_an_absent_class_leaves_its_share_to_the_others() -> None:
    weights = drawing_weights([sprite("frog"), sprite("garlic")])
    assert sum(weights) == pytest.approx(1.0)
    assert weights[0] / weights[1] == pytest.approx(
        COMMON_SHARE / (1 - JUDGED_SHARE - COMMON_SHARE)
    )


def test_clips_keep_to_fewer_things() -> None:
    infos = [sprite("cat"), sprite("frog"), sprite("goat"), sprite("garlic")]
    weights = filming_weights(infos)
    assert weights[:2] == [pytest.approx(JUDGED_IN_CLIPS), pytest.approx(FILMED_SHARE)]
    assert weights[2] == weights[3]
    assert "goat" in common_things()
    assert filmed_things() < common_things()
