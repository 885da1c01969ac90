"""Judges what moves in a clip, without knowing what it shows: the foreground's path and shape.

The background is what the left and right edges show through the whole clip, row by row; whatever
differs from it is foreground. `Track` follows the foreground's centre, area and turn, `follows`
compares them with a motion word. Drawn clips tell how far these judgements can be trusted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from tools.pocket.captions import COLOUR_NAMES
from tools.pocket.video_captions import PALETTE

Clip = npt.NDArray[np.uint8]
"""Pixels ``[T, H, W, 3]``."""

WORDS: dict[str, str] = {
    "right": "slides right",
    "left": "slides left",
    "up": "moves up",
    "down": "moves down",
    "grow": "grows",
    "shrink": "shrinks",
    "bounce": "bounces",
    "spin": "spins",
}
"""The motions that can be judged, and how they are asked for."""

_EDGE_PX = 4
_FULL = 255.0
# Euclidean distance in RGB (0..1 each) from which a pixel is foreground; JPEG-like noise is below.
_FOREGROUND = 0.15
_SEEN_AREA, _SEEN_SHARE = 0.01, 0.5
# A drawn slide covers at least 0.27 of the frame, a drawn growth at least 3.2 times the area.
_WAY, _STRAIGHT = 0.1, 1.5
_GROWTH = 1.5
# A drawn bounce lifts the thing by at least 0.22 of the frame, twice.
_LIFT, _ARCS, _ARC_CORRELATION = 0.08, 2, 0.5
_LEAST_TURN, _MOST_TURN = math.pi, 3 * math.pi
_RINGS, _ANGLES, _MOST_LAG = 10, 64, 8
_RADIUS = 0.8


@dataclass(frozen=True, kw_only=True)
class Track:
    """The foreground's way through a clip; every list has one entry a frame.

    ``x`` and ``y`` are its centre and ``area`` its share, all in units of the frame (0..1; the
    centre is not a number in an empty frame). ``turn`` is the clockwise rotation in all, radians.
    """

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    area: npt.NDArray[np.float64]
    turn: float

    @property
    def seen(self) -> npt.NDArray[np.bool_]:
        """The frames that show enough foreground to speak of."""
        return self.area >= _SEEN_AREA


def background(clip: Clip) -> npt.NDArray[np.float64]:
    """Return the background's colour of each row, ``[H, 3]`` in 0..1."""
    edges = np.concatenate([clip[:, :, :_EDGE_PX], clip[:, :, -_EDGE_PX:]], axis=2)
    rows: npt.NDArray[np.float64] = np.median(edges / _FULL, axis=(0, 2))
    return rows


def background_name(clip: Clip) -> str:
    """Return the nearest named background, or ``plain``."""
    middle = np.median(background(clip), axis=0)
    apart = np.linalg.norm(np.array(PALETTE) / _FULL - middle, axis=1)
    return (*COLOUR_NAMES, "plain")[int(apart.argmin())]


def liveliness(clip: Clip) -> float:
    """Return the mean absolute difference of neighbouring frames, 0..1."""
    values = clip.astype(np.float64) / _FULL
    return float(np.abs(np.diff(values, axis=0)).mean())


def track(clip: Clip) -> Track:
    """Follow the foreground."""
    apart = clip / _FULL - background(clip)[None, :, None]
    mask = np.linalg.norm(apart, axis=3) > _FOREGROUND
    height, width = mask.shape[1:]
    count = mask.sum(axis=(1, 2))
    weight = np.maximum(count, 1)
    empty = np.where(count > 0, 0.0, np.nan)
    x = (mask.sum(axis=1) * (np.arange(width) + 0.5)).sum(axis=1) / weight / width + empty
    y = (mask.sum(axis=2) * (np.arange(height) + 0.5)).sum(axis=1) / weight / height + empty
    shown = torch.from_numpy(apart * mask[..., None]).float().permute(0, 3, 1, 2)
    return Track(x=x, y=y, area=count / (height * width), turn=_turn(shown, x, y))


def follows(kind: str, way: Track) -> bool:
    """Return whether a clip does what the motion word (a key of `WORDS`) says."""
    return way.seen.mean() >= _SEEN_SHARE and _RULES[kind](way)


def _slides(dx: int, dy: int) -> Callable[[Track], bool]:
    def rule(way: Track) -> bool:
        x, y = _trend(way, way.x), _trend(way, way.y)
        along, across = (dx * x, y) if dx else (dy * y, x)
        return along > _WAY and along > _STRAIGHT * abs(across)

    return rule


def _scales(sign: int) -> Callable[[Track], bool]:
    def rule(way: Track) -> bool:
        return sign * _trend(way, np.log(np.maximum(way.area, 1e-6))) > math.log(_GROWTH)

    return rule


def _bounces(way: Track) -> bool:
    arc = np.abs(np.sin(math.pi * _ARCS * _time(way)))[way.seen]
    height = -way.y[way.seen]
    if height.std() == 0 or arc.std() == 0:
        return False
    agreement = float(np.corrcoef(arc, height)[0, 1])
    return agreement > _ARC_CORRELATION and agreement * height.std() / arc.std() > _LIFT


def _spins(way: Track) -> bool:
    return _LEAST_TURN < way.turn < _MOST_TURN


_RULES: dict[str, Callable[[Track], bool]] = {
    "right": _slides(1, 0),
    "left": _slides(-1, 0),
    "up": _slides(0, -1),
    "down": _slides(0, 1),
    "grow": _scales(1),
    "shrink": _scales(-1),
    "bounce": _bounces,
    "spin": _spins,
}


def _time(way: Track) -> npt.NDArray[np.float64]:
    return np.linspace(0.0, 1.0, len(way.area))


def _trend(way: Track, values: npt.NDArray[np.float64]) -> float:
    """Return by how much the values change from start to end, along a fitted line."""
    return float(np.polyfit(_time(way)[way.seen], values[way.seen], 1)[0])


def _turn(shown: Tensor, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Return the clockwise turn in all, from the shift along the angle that fits best."""
    centre = torch.from_numpy(np.nan_to_num(np.stack([x, y], axis=1), nan=0.5)).float() * 2 - 1
    angle = torch.arange(_ANGLES) * (2 * math.pi / _ANGLES)
    radius = (torch.arange(_RINGS) + 1) * (_RADIUS / _RINGS)
    # x to the right and y down: a growing angle goes clockwise.
    ring = torch.stack([torch.cos(angle), torch.sin(angle)], dim=-1)
    grid = centre[:, None, None] + radius[None, :, None, None] * ring[None, None]
    polar = functional.grid_sample(shown, grid, align_corners=False)
    # Outer rings stand for more pixels.
    polar = polar * radius.sqrt()[None, None, :, None]
    lags = range(-_MOST_LAG, _MOST_LAG + 1)
    scores = torch.stack(
        [(polar[:-1].roll(lag, dims=3) * polar[1:]).sum(dim=(1, 2, 3)) for lag in lags]
    )
    best = scores.argmax(dim=0) - _MOST_LAG
    # Without a foreground every lag scores zero.
    best = torch.where(scores.amax(dim=0) > 0, best, torch.zeros_like(best))
    return float(best.sum()) * 2 * math.pi / _ANGLES
