"""Motions of one sprite: the words for each and the path it takes through a clip.

A pose is five numbers per frame, ``[x, y, size, angle, alpha]``: the sprite's centre and half
side in units of half the shorter frame side (x to the right, y down, origin in the middle), the
clockwise angle in radians and the opacity. Drawing is ``video_data``'s concern.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

POSE_VALUES = 5
RANDOM_VALUES = 6
_FULL_TURN = 2.0 * math.pi
_SWING_RAD = 0.5
_SHAKE_WIDTH = 0.14
_SHAKE_PERIODS = 4.0
_PULSE_DEPTH = 0.2
_FADE_SHARE = 0.75
_IDLE_HEIGHT = 0.025

Path = Callable[["PathInput"], Tensor]


@dataclass(frozen=True)
class PathInput:
    """What a path is computed from.

    ``u`` is the time from 0 to 1, ``[1, T]``; ``r`` holds ``RANDOM_VALUES`` columns in [0, 1), each
    ``[B, 1]``; ``reach`` is half the frame's width and height in units of half its shorter side.
    """

    u: Tensor
    r: tuple[Tensor, ...]
    reach: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One motion: its name, the phrases that ask for it, its path, how often it is drawn."""

    name: str
    phrases: tuple[str, ...]
    path: Path
    weight: float = 1.0


def poses(kinds: Tensor, frames: int, reach: tuple[float, float], random: Tensor) -> Tensor:
    """Return the poses ``[B, T, 5]`` of ``B`` clips of ``frames`` frames.

    ``kinds`` are indices into `MOTIONS`, ``[B]``; ``random`` is uniform, ``[B, RANDOM_VALUES]``.
    A single frame is taken at a random time, so that stills show every phase.
    """
    device = random.device
    columns = tuple(random[:, index : index + 1] for index in range(RANDOM_VALUES))
    if frames == 1:
        u = random[:, RANDOM_VALUES - 1 :]
    else:
        u = torch.linspace(0.0, 1.0, frames, device=device)[None, :]
    given = PathInput(u=u, r=columns, reach=reach)
    drawn = torch.stack([motion.path(given) for motion in MOTIONS])
    return drawn[kinds, torch.arange(len(kinds), device=device)]


def calm(random: Tensor, spread: Tensor | float) -> Tensor:
    """Return the random numbers of paths, drawn together around their middle.

    ``random`` is uniform, ``[B, RANDOM_VALUES]``; ``spread`` is 1 to leave it as it is and 0 for
    always the same path, one number or ``[B, 1]``. The moment that a single frame shows stays free.
    """
    drawn = 0.5 + (random - 0.5) * spread
    return torch.cat([drawn[:, :-1], random[:, -1:]], dim=1)


def _pose(
    given: PathInput,
    *,
    x: Tensor | float = 0.0,
    y: Tensor | float = 0.0,
    size: Tensor | float = 0.6,
    angle: Tensor | float = 0.0,
    alpha: Tensor | float = 1.0,
) -> Tensor:
    like = given.u + given.r[0] * 0.0
    return torch.stack([like * 0.0 + value for value in (x, y, size, angle, alpha)], dim=-1)


def _between(column: Tensor, low: float, high: float) -> Tensor:
    return low + (high - low) * column


def _place(given: PathInput, wide: float = 0.12) -> tuple[Tensor, Tensor, Tensor]:
    x, y = _between(given.r[0], -wide, wide), _between(given.r[1], -wide, wide)
    return x, y, _between(given.r[2], 0.56, 0.78)


def _idle(given: PathInput) -> Tensor:
    x, y, size = _place(given)
    bob = _IDLE_HEIGHT * torch.sin(_FULL_TURN * given.u)
    return _pose(given, x=x, y=y + bob, size=size)


def _slide(axis: int, sign: float) -> Path:
    def path(given: PathInput) -> Tensor:
        reach = given.reach[axis]
        start = _between(given.r[0], -0.72, 0.05) * reach
        way = _between(given.r[1], 0.55, 1.0) * reach
        along = sign * (start + way * given.u)
        across = _between(given.r[3], -0.15, 0.15)
        size = _between(given.r[2], 0.42, 0.7)
        x, y = (along, across) if axis == 0 else (across, along)
        return _pose(given, x=x, y=y, size=size)

    return path


def _arcs(count: int) -> Path:
    def path(given: PathInput) -> Tensor:
        reach = given.reach[1]
        size = _between(given.r[2], 0.42, 0.66)
        floor = _between(given.r[1], 0.1, 0.45) * reach
        height = _between(given.r[3], 0.45, 0.75) * reach
        lift = height * torch.sin(math.pi * count * given.u).abs()
        return _pose(given, x=_between(given.r[0], -0.15, 0.15), y=floor - lift, size=size)

    return path


def _spin(given: PathInput) -> Tensor:
    x, y, size = _place(given)
    return _pose(given, x=x, y=y, size=size, angle=_FULL_TURN * given.u)


def _grow(sign: float) -> Path:
    def path(given: PathInput) -> Tensor:
        small = _between(given.r[2], 0.24, 0.5)
        factor = _between(given.r[3], 1.8, 2.3)
        share = given.u if sign > 0 else 1.0 - given.u
        x, y, _ = _place(given, 0.08)
        return _pose(given, x=x, y=y, size=small * (1.0 + (factor - 1.0) * share))

    return path


def _fade(sign: float) -> Path:
    def path(given: PathInput) -> Tensor:
        x, y, size = _place(given)
        share = given.u if sign > 0 else 1.0 - given.u
        return _pose(given, x=x, y=y, size=size, alpha=(share / _FADE_SHARE).clamp(0.0, 1.0))

    return path


def _swing(given: PathInput) -> Tensor:
    x, y, size = _place(given)
    return _pose(given, x=x, y=y, size=size, angle=_SWING_RAD * torch.sin(_FULL_TURN * given.u))


def _shake(given: PathInput) -> Tensor:
    x, y, size = _place(given)
    wave = torch.sin(_FULL_TURN * _SHAKE_PERIODS * given.u)
    return _pose(given, x=x + _SHAKE_WIDTH * wave, y=y, size=size)


def _circle(given: PathInput) -> Tensor:
    radius = _between(given.r[1], 0.32, 0.45)
    turn = _FULL_TURN * given.u
    size = _between(given.r[2], 0.42, 0.6)
    return _pose(given, x=radius * torch.sin(turn), y=-radius * torch.cos(turn), size=size)


def _pulse(given: PathInput) -> Tensor:
    x, y, size = _place(given)
    return _pose(
        given, x=x, y=y, size=size * (1.0 + _PULSE_DEPTH * torch.sin(2.0 * _FULL_TURN * given.u))
    )


MOTIONS: tuple[Motion, ...] = (
    Motion(name="idle", phrases=("", "", "", "stands still", "is still"), path=_idle, weight=1.5),
    Motion(
        name="right",
        phrases=(
            "slides right",
            "slides right",
            "slides right",
            "moves right",
            "sliding right",
            "moving right",
            "is moving to the right",
            "moves to the right",
            "slides to the right",
            "goes right",
            "walks right",
            "flies to the right",
            "drives right",
        ),
        path=_slide(0, 1.0),
        weight=2.2,
    ),
    Motion(
        name="left",
        phrases=(
            "slides left",
            "slides left",
            "slides left",
            "moves left",
            "sliding left",
            "moving left",
            "is moving to the left",
            "moves to the left",
            "slides to the left",
            "goes left",
            "walks left",
            "flies to the left",
            "drives left",
        ),
        path=_slide(0, -1.0),
        weight=2.2,
    ),
    Motion(
        name="up",
        phrases=(
            "moves up",
            "moves up",
            "rises",
            "flies up",
            "goes up",
            "slides up",
            "floats up",
            "rising",
        ),
        path=_slide(1, -1.0),
        weight=1.4,
    ),
    Motion(
        name="down",
        phrases=(
            "moves down",
            "moves down",
            "falls",
            "falls down",
            "falling",
            "drops",
            "slides down",
            "goes down",
        ),
        path=_slide(1, 1.0),
        weight=1.4,
    ),
    Motion(
        name="bounce",
        phrases=("bounces", "bounces", "bounces up and down", "hops", "is bouncing", "bouncing"),
        path=_arcs(2),
        weight=1.3,
    ),
    Motion(name="jump", phrases=("jumps", "jumps up", "leaps"), path=_arcs(1), weight=0.8),
    Motion(
        name="spin",
        phrases=("spins", "spins", "rotates", "turns around", "is spinning", "spinning"),
        path=_spin,
        weight=1.6,
    ),
    Motion(
        name="grow",
        phrases=("grows", "grows", "gets bigger", "comes closer"),
        path=_grow(1.0),
        weight=1.2,
    ),
    Motion(
        name="shrink",
        phrases=("shrinks", "shrinks", "gets smaller", "goes away"),
        path=_grow(-1.0),
        weight=1.2,
    ),
    Motion(name="fade in", phrases=("fades in", "fades in", "appears"), path=_fade(1.0)),
    Motion(name="fade out", phrases=("fades out", "fades out", "disappears"), path=_fade(-1.0)),
    Motion(name="swing", phrases=("swings", "swings", "sways", "rocks"), path=_swing, weight=0.8),
    Motion(name="shake", phrases=("shakes", "shakes", "wiggles"), path=_shake, weight=0.8),
    Motion(
        name="circle", phrases=("moves in a circle", "circles", "flies in a circle"), path=_circle
    ),
    Motion(name="pulse", phrases=("pulses", "beats", "pulses"), path=_pulse, weight=0.7),
)
MOTION_NAMES: tuple[str, ...] = tuple(motion.name for motion in MOTIONS)
