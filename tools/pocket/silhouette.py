"""Judges the outline of an object alone, without its colours.

The probe knows its objects by their colours and details as much as by their form. Here a picture
is cut out from its background and its outline laid over those of the known sprites: translation
and size do not count, everything inside the outline neither. Objects of the background's colour
lose parts of their outline, so a figure means something beside that of drawn pictures alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as nnf

from tools.pocket.probe import OBJECT_NAMES, Pixels

# The border of a picture shades by up to 26 of 255 from its mean.
_APART = 40
_BORDER_PX = 3
_SIDE_PX = 32
_HALF = 0.5
# A pixel with fewer than so many of its kind in the square around it is a speck; a line two pixels
# wide has ten.
_AROUND_PX, _SPECK = 5, 6
_ALPHA_SCALE = 255.0


@dataclass(frozen=True, kw_only=True)
class ShapeFigures:
    """How often the outline fits the object asked best of all, and how well it does, 0..1.

    One stray pixel in a corner stretches the box that an outline is cut to. ``without_specks`` are
    the same two figures once such pixels are left out.
    """

    outline_accuracy: float
    outline_overlap: float
    without_specks_accuracy: float
    without_specks_overlap: float


class Outlines:
    """The outlines of the probe's objects."""

    def __init__(self, rgba: torch.Tensor) -> None:
        """Take the sprites of `OBJECT_NAMES`, uint8 ``[20, 4, side, side]``."""
        solid = rgba[:, 3].float() / _ALPHA_SCALE > _HALF
        self._known = torch.stack([_normal(mask) for mask in solid])

    def overlaps(self, picture: Pixels, *, specks: bool = True) -> list[float]:
        """Return the intersection over union with each object's outline, in their order."""
        cut = _cut_out(picture)
        mask = _normal(cut if specks else _without_specks(cut))
        both = (self._known & mask).flatten(1).sum(1)
        either = (self._known | mask).flatten(1).sum(1).clamp(min=1)
        values: list[float] = (both / either).tolist()
        return values

    def measure(self, pictures: Sequence[Pixels], names: Sequence[str]) -> ShapeFigures:
        """Compare each picture with the object named in the same place."""
        accuracy, overlap = self._compare(pictures, names, specks=True)
        clean_accuracy, clean_overlap = self._compare(pictures, names, specks=False)
        return ShapeFigures(
            outline_accuracy=accuracy,
            outline_overlap=overlap,
            without_specks_accuracy=clean_accuracy,
            without_specks_overlap=clean_overlap,
        )

    def _compare(
        self, pictures: Sequence[Pixels], names: Sequence[str], *, specks: bool
    ) -> tuple[float, float]:
        hits, shares = [], []
        for picture, name in zip(pictures, names, strict=True):
            values = self.overlaps(picture, specks=specks)
            wanted = OBJECT_NAMES.index(name)
            hits.append(max(range(len(values)), key=values.__getitem__) == wanted)
            shares.append(values[wanted])
        return round(float(np.mean(hits)), 4), round(float(np.mean(shares)), 4)


def _cut_out(picture: Pixels) -> torch.Tensor:
    """Return a mask ``[H, W]`` of what differs from the border's median colour."""
    values = picture.astype(np.int16)
    edge = _BORDER_PX
    sides = (values[:edge], values[-edge:], values[:, :edge], values[:, -edge:])
    border = np.concatenate([side.reshape(-1, 3) for side in sides])
    apart = np.abs(values - np.median(border, axis=0)).max(axis=-1)
    return torch.from_numpy(apart > _APART)


def _without_specks(mask: torch.Tensor) -> torch.Tensor:
    """Return a mask without pixels that stand almost alone."""
    around = nnf.avg_pool2d(
        mask[None, None].float(), _AROUND_PX, 1, _AROUND_PX // 2, count_include_pad=True
    )
    return mask & (around[0, 0] * _AROUND_PX**2 > _SPECK - _HALF)


def _normal(mask: torch.Tensor) -> torch.Tensor:
    """Return a mask cut to its box, centred in a square and scaled, bool ``[side, side]``."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    if rows.numel() == 0:
        return torch.zeros(_SIDE_PX, _SIDE_PX, dtype=torch.bool)
    box = mask[int(rows[0]) : int(rows[-1]) + 1, int(columns[0]) : int(columns[-1]) + 1]
    height, width = box.shape
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    square = nnf.pad(box.float(), (left, side - width - left, top, side - height - top))
    small = nnf.interpolate(square[None, None], (_SIDE_PX, _SIDE_PX), mode="area")
    return small[0, 0] > _HALF
