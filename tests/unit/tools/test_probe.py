"""The probe: its pictures show what their labels say, and its questions never change."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tools.pocket.captions import COLOUR_NAMES, COLOURS, PLAIN, PLAIN_RGB, is_held_out
from tools.pocket.compose import Composer
from tools.pocket.probe import (
    BACKGROUNDS,
    OBJECT_NAMES,
    OBJECTS,
    PROBE_PX,
    Probe,
    ProbeNet,
    disturb,
    draw_examples,
    held_out_questions,
    known_questions,
    load_probe,
    measure_shuffled,
    object_sprites,
    save_probe,
)
from tools.pocket.sprites import SPRITE_PX, SpriteInfo, SpritePack

ROOT = Path(__file__).parents[3]
COMMITTED = ROOT / "models/pocket/probe"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def composer() -> Composer:
    """Draws with sprites that are flat squares of their own shade, smaller than their frame."""
    sprites = torch.zeros(len(OBJECT_NAMES), 4, SPRITE_PX, SPRITE_PX, dtype=torch.uint8)
    inner = slice(SPRITE_PX // 4, -SPRITE_PX // 4)
    for index in range(len(OBJECT_NAMES)):
        sprites[index, :3, inner, inner] = 10 * index + 20
        sprites[index, 3, inner, inner] = 255
    return Composer(sprites, torch.device("cpu"))


def test_every_background_is_the_grammar_s() -> None:
    assert BACKGROUNDS[:PLAIN] == COLOUR_NAMES
    assert BACKGROUNDS[PLAIN] == "plain"


def test_there_are_twenty_objects_with_a_label_each() -> None:
    assert len(OBJECT_NAMES) == 20
    assert len(set(OBJECTS.values())) == 20


def test_a_picture_has_the_background_of_its_label(composer: Composer) -> None:
    drawn = draw_examples(composer, 64, generator())
    centres = torch.tensor([*COLOURS.values(), PLAIN_RGB], dtype=torch.float32) / 127.5 - 1
    corners = drawn.pictures[:, :, [0, 0, -1, -1], [0, -1, 0, -1]].mean(2)
    nearest = torch.cdist(corners, centres).argmin(1)
    assert drawn.pictures.shape == (64, 3, PROBE_PX, PROBE_PX)
    assert len(set(drawn.colours.tolist())) > 8
    assert (nearest == drawn.colours).float().mean() > 0.9


def test_a_picture_shows_the_object_of_its_label(composer: Composer) -> None:
    drawn = draw_examples(composer, 64, generator())
    shades = (drawn.objects * 10 + 20).float() / 127.5 - 1
    near = (drawn.pictures - shades[:, None, None, None]).abs().amax(1) < 0.02
    assert bool((near.flatten(1).sum(1) > 300).all())


def test_drawing_depends_on_the_seed_alone(composer: Composer) -> None:
    one, again, other = (draw_examples(composer, 8, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.pictures, again.pictures)
    assert not torch.equal(one.pictures, other.pictures)


def test_disturbed_pictures_stay_pictures(composer: Composer) -> None:
    pictures = draw_examples(composer, 8, generator()).pictures
    bent = disturb(pictures, generator())
    assert bent.shape == pictures.shape
    assert float(bent.abs().max()) <= 1
    assert 0.001 < float((bent - pictures).abs().mean()) < 0.5


def test_the_held_out_compositions_are_the_same_for_ever() -> None:
    held_out = {
        name: [colour for place, colour in enumerate(COLOUR_NAMES) if is_held_out(label, place)]
        for name, label in OBJECTS.items()
    }
    assert held_out["cat"] == ["teal", "black", "white"]
    assert held_out["car"] == ["purple", "pink"]
    assert held_out["rocket"] == ["pink"]
    assert sum(map(len, held_out.values())) == 50
    assert all(held_out.values())


def test_questions_ask_for_what_was_held_out() -> None:
    questions = held_out_questions(60, 1000)
    assert questions == held_out_questions(60, 1000)
    assert questions[0].prompt == "a cat on a teal background"
    assert [question.seed for question in questions] == list(range(1000, 1060))
    for question in questions:
        assert is_held_out(OBJECTS[question.object], COLOUR_NAMES.index(question.colour))
        assert question.object in question.prompt
        assert question.colour in question.prompt
    assert all(sum(q.object == name for q in questions) == 3 for name in OBJECT_NAMES)


def test_known_questions_ask_for_the_others() -> None:
    for question in known_questions(40, 0):
        assert not is_held_out(OBJECTS[question.object], COLOUR_NAMES.index(question.colour))


def test_sprites_are_found_by_their_labels() -> None:
    labels = [*reversed(OBJECTS.values()), "unknown"]
    infos = tuple(
        SpriteInfo(code="", label=label, names=(), keywords=(), group=3, weight=1.0)
        for label in labels
    )
    rgba = torch.arange(len(labels), dtype=torch.uint8)[:, None, None, None].expand(-1, 4, 2, 2)
    found = object_sprites(SpritePack(infos, rgba))
    assert found[:, 0, 0, 0].tolist() == list(reversed(range(20)))


def test_a_saved_probe_judges_as_before(tmp_path: Path) -> None:
    net = ProbeNet().half().float()
    picture = np.full((PROBE_PX, PROBE_PX, 3), 200, dtype=np.uint8)
    before = Probe(net).judge([picture])
    save_probe(net, tmp_path, {"object_accuracy": 1.0})
    assert load_probe(tmp_path).judge([picture]) == before


def test_a_large_picture_is_judged_as_a_small_one() -> None:
    probe = Probe(ProbeNet())
    small = np.random.default_rng(0).integers(0, 255, (PROBE_PX, PROBE_PX, 3), dtype=np.uint8)
    large = small.repeat(4, axis=0).repeat(4, axis=1)
    one, other = probe.judge([small, large])
    assert (one.object, one.colour) == (other.object, other.colour)
    assert one.object_confidence == pytest.approx(other.object_confidence, abs=1e-3)


def test_a_probe_of_other_words_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_probe(ProbeNet(), tmp_path, {})
    monkeypatch.setitem(OBJECTS, "cat", "lion")
    with pytest.raises(ValueError, match="probe-train"):
        load_probe(tmp_path)


def test_the_committed_probe_tells_colours_apart() -> None:
    probe = load_probe(COMMITTED)
    flat = [np.full((PROBE_PX, PROBE_PX, 3), rgb, dtype=np.uint8) for name, rgb in COLOURS.items()]
    seen = [verdict.colour for verdict in probe.judge(flat)]
    right = sum(one == other for one, other in zip(seen, COLOUR_NAMES, strict=True))
    assert right >= 11
    assert (COMMITTED / "probe.safetensors").stat().st_size <= 1_000_000


def test_shuffled_pictures_are_measured_alike_each_time(composer: Composer) -> None:
    net = ProbeNet().eval()
    share = measure_shuffled(net, composer, 32, 0)
    assert 0 <= share < 0.5
    assert share == measure_shuffled(net, composer, 32, 0)
