"""Motions: what their paths do, and that the judge sees it in drawn clips."""

import numpy as np
import pytest
import torch
from tools.pocket.captions import COLOUR_NAMES
from tools.pocket.motion import MOTION_NAMES, POSE_VALUES, RANDOM_VALUES, calm, poses
from tools.pocket.sprites import SPRITE_PX
from tools.pocket.video_captions import PALETTE
from tools.pocket.video_data import draw
from tools.pocket.video_judge import WORDS, Clip, background_name, follows, liveliness, track

FRAMES, SIDE, CLIPS = 17, 64, 3
BLUE = COLOUR_NAMES.index("blue")


def paths(kind: str, frames: int = FRAMES) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    kinds = torch.full((CLIPS,), MOTION_NAMES.index(kind))
    return poses(kinds, frames, (1.0, 1.0), torch.rand(CLIPS, RANDOM_VALUES, generator=generator))


def clips(kind: str) -> list[Clip]:
    """A white and red arrow of sorts over blue: no turn brings it back onto itself."""
    sprite = torch.zeros(1, 4, SPRITE_PX, SPRITE_PX)
    middle = SPRITE_PX // 2
    sprite[:, :, 8 : SPRITE_PX - 8, middle - 24 : middle + 24] = 1.0
    sprite[:, 1:3, 8:middle, middle - 24 : middle + 24] = 0.0
    rgb = torch.tensor(PALETTE[BLUE]) / 255.0
    ground = rgb[None, :, None, None].expand(CLIPS, 3, SIDE, SIDE)
    video = draw(sprite.expand(CLIPS, -1, -1, -1), paths(kind), ground, (SIDE, SIDE))
    pixels = ((video + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()
    return [np.ascontiguousarray(row) for row in pixels]


@pytest.mark.parametrize("kind", MOTION_NAMES)
def test_a_path_has_a_finite_pose_for_every_frame(kind: str) -> None:
    path = paths(kind)
    assert path.shape == (CLIPS, FRAMES, POSE_VALUES)
    assert bool(path.isfinite().all())
    assert float(path[..., 2].min()) > 0.0
    assert 0.0 <= float(path[..., 4].min()) <= float(path[..., 4].max()) <= 1.0


@pytest.mark.parametrize("kind", MOTION_NAMES)
def test_a_single_frame_can_be_any_moment(kind: str) -> None:
    assert paths(kind, 1).shape == (CLIPS, 1, POSE_VALUES)


@pytest.mark.parametrize(
    ("kind", "value", "sign"),
    [
        ("right", 0, 1),
        ("left", 0, -1),
        ("down", 1, 1),
        ("up", 1, -1),
        ("grow", 2, 1),
        ("shrink", 2, -1),
        ("spin", 3, 1),
    ],
)
def test_a_word_changes_its_own_value_in_its_direction(kind: str, value: int, sign: int) -> None:
    steps = paths(kind)[:, :, value].diff(dim=1) * sign
    assert float(steps.min()) > 0.0


def test_opposite_words_take_the_same_way_in_opposite_directions() -> None:
    assert torch.allclose(paths("left")[..., 0], -paths("right")[..., 0])
    assert torch.allclose(paths("fade in")[..., 4], paths("fade out")[..., 4].flip(1))


@pytest.mark.parametrize("kind", WORDS)
def test_the_judge_sees_what_was_drawn_and_nothing_else(kind: str) -> None:
    ways = [track(clip) for clip in clips(kind)]
    assert all(follows(kind, way) for way in ways)
    assert not any(follows(other, way) for way in ways for other in WORDS if other != kind)


def test_a_still_thing_follows_no_word_and_hardly_changes() -> None:
    still = clips("idle")
    assert not any(follows(word, track(clip)) for clip in still for word in WORDS)
    assert liveliness(still[0]) < liveliness(clips("bounce")[0])
    assert background_name(still[0]) == "blue"


def test_an_empty_clip_follows_no_word() -> None:
    empty: Clip = np.full((FRAMES, SIDE, SIDE, 3), PALETTE[BLUE], dtype=np.uint8)
    assert liveliness(empty) == 0.0
    assert not any(follows(word, track(empty)) for word in WORDS)


def test_calm_paths_depart_less_from_their_middle_but_show_any_moment() -> None:
    random = torch.rand(50, RANDOM_VALUES, generator=torch.Generator().manual_seed(5))
    spread = torch.full((50, 1), 0.25)
    drawn = calm(random, spread)
    away, before = (drawn[:, :-1] - 0.5).abs(), (random[:, :-1] - 0.5).abs()
    assert torch.allclose(away, 0.25 * before, atol=1e-6)
    assert torch.equal(drawn[:, -1], random[:, -1])
    assert torch.equal(calm(random, 1.0)[:, -1], random[:, -1])
