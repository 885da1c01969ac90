"""Draws scenes: sprites over backgrounds, batched, on whatever device the sprites live on.

Coordinates are pixels from the top left; pictures are RGB in [-1, 1], ``[B, 3, H, W]``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as nnf

from tools.pocket.captions import COLOURS, GRADIENT, MAX_SPRITES, PLAIN_RGB, Scene
from tools.pocket.sprites import SPRITE_PX

# (width, height) in pixels: the native sizes of the pocket image model.
BUCKETS: tuple[tuple[int, int], ...] = ((128, 128), (128, 72), (72, 128))
_LEVELS = 3
_RGB_SCALE = 127.5
_COLUMN_FILL = 1.12  # sprites rarely fill their square, so columns may overlap a little


@dataclass(frozen=True)
class Jitter:
    """How far a drawing may stray: position (share of the column), size, colour (0..1 units)."""

    position: float = 0.05
    size: float = 0.06
    colour: float = 0.03


@dataclass(frozen=True)
class SceneBatch:
    """Scenes as tensors: ``sprite``, ``column``, ``columns`` int ``[B, MAX_SPRITES]`` (sprite -1
    where there is none), ``size`` float of the same shape, ``colour`` and ``fill`` int ``[B]``.
    """

    sprite: torch.Tensor
    column: torch.Tensor
    columns: torch.Tensor
    size: torch.Tensor
    colour: torch.Tensor
    fill: torch.Tensor

    @staticmethod
    def of(scenes: Sequence[Scene]) -> SceneBatch:
        """Pack scenes into tensors on the CPU."""
        rows = [_padded(scene) for scene in scenes]
        table = torch.tensor(rows, dtype=torch.float32).reshape(len(rows), MAX_SPRITES, 4)
        sprite = table[..., 0].to(torch.int16)
        column, columns = table[..., 1].to(torch.int8), table[..., 2].to(torch.int8)
        size = table[..., 3].contiguous()
        colour = torch.tensor([scene.colour for scene in scenes], dtype=torch.int16)
        fill = torch.tensor([scene.fill for scene in scenes], dtype=torch.int8)
        return SceneBatch(sprite, column, columns, size, colour, fill)

    def rows(self, index: torch.Tensor) -> SceneBatch:
        """Return the scenes at ``index`` (int64 ``[N]``)."""
        return SceneBatch(*(getattr(self, name)[index] for name in self.__dataclass_fields__))

    def to(self, device: torch.device) -> SceneBatch:
        """Return the same scenes on ``device``."""
        return SceneBatch(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))


class Composer:
    """Holds the sprites in device memory and draws scenes from them."""

    def __init__(self, rgba: torch.Tensor, device: torch.device) -> None:
        """Take ``rgba`` uint8 ``[N, 4, SPRITE_PX, SPRITE_PX]``."""
        self.device = device
        self._levels = [level.to(device) for level in _mip_levels(rgba)]
        palette = torch.tensor([*COLOURS.values(), PLAIN_RGB], dtype=torch.float32, device=device)
        self._palette = palette / _RGB_SCALE - 1.0

    def draw(
        self,
        scenes: SceneBatch,
        width: int,
        height: int,
        generator: torch.Generator,
        jitter: Jitter | None = None,
    ) -> torch.Tensor:
        """Draw scenes with a little random placing; return ``[B, 3, height, width]`` in [-1, 1]."""
        jitter = jitter or Jitter()
        boxes = self.place(scenes, width, height, generator, jitter)
        picture = self.background(scenes, width, height, generator, jitter)
        for slot in range(MAX_SPRITES):
            sprite = scenes.sprite[:, slot].long()
            picture = self.paste(picture, sprite, boxes[:, slot])
        return picture

    def place(
        self,
        scenes: SceneBatch,
        width: int,
        height: int,
        generator: torch.Generator,
        jitter: Jitter,
    ) -> torch.Tensor:
        """Return boxes ``[B, MAX_SPRITES, 3]``: centre x, centre y, side, all in pixels."""
        columns = scenes.columns.float()
        pitch = width / columns
        cell = torch.minimum(pitch * _COLUMN_FILL, torch.full_like(pitch, float(height)))
        cell = torch.where(columns > 1, cell, torch.full_like(pitch, float(min(width, height))))
        noise = self.uniform((*columns.shape, 3), generator) * 2 - 1
        side = cell * scenes.size * (1 + jitter.size * noise[..., 2])
        centre_x = (scenes.column.float() + 0.5) * pitch + cell * jitter.position * noise[..., 0]
        centre_y = height / 2 + cell * jitter.position * noise[..., 1]
        return torch.stack([centre_x, centre_y, side], dim=-1)

    def background(
        self,
        scenes: SceneBatch,
        width: int,
        height: int,
        generator: torch.Generator,
        jitter: Jitter,
    ) -> torch.Tensor:
        """Return flat or softly shaded backgrounds ``[B, 3, height, width]`` in [-1, 1]."""
        count = scenes.colour.shape[0]
        base = self._palette[scenes.colour.long()]
        base = base + (self.uniform((count, 3), generator) * 2 - 1) * 2 * jitter.colour
        ys = torch.linspace(-1, 1, height, device=self.device)[:, None].expand(height, width)
        xs = torch.linspace(-1, 1, width, device=self.device)[None, :].expand(height, width)
        angle = self.uniform((count, 1, 1), generator) * 2 * torch.pi
        linear = xs * torch.cos(angle) + ys * torch.sin(angle)
        radial = (xs.square() + ys.square()) - 0.7
        is_radial = self.uniform((count, 1, 1), generator) < 0.5  # noqa: PLR2004 - a coin
        shade = torch.where(is_radial, -radial, linear * 0.7)
        strength = (scenes.fill == GRADIENT).float()[:, None, None]
        strength = strength * (0.08 + 0.12 * self.uniform((count, 1, 1), generator))
        return (base[:, :, None, None] + (shade * strength)[:, None]).clamp(-1, 1)

    def paste(
        self, picture: torch.Tensor, sprite: torch.Tensor, boxes: torch.Tensor
    ) -> torch.Tensor:
        """Lay sprites (int64 ``[B]``, -1 for none) into ``boxes`` ``[B, 3]`` over pictures."""
        height, width = picture.shape[-2:]
        side = boxes[:, 2].clamp(min=1.0)
        theta = torch.zeros(picture.shape[0], 2, 3, device=self.device)
        theta[:, 0, 0], theta[:, 1, 1] = width / side, height / side
        theta[:, 0, 2] = (width - 2 * boxes[:, 0]) / side
        theta[:, 1, 2] = (height - 2 * boxes[:, 1]) / side
        grid = nnf.affine_grid(theta, [picture.shape[0], 4, height, width], align_corners=False)
        index = sprite.clamp(min=0)
        detail = torch.log2(SPRITE_PX / side).clamp(0, _LEVELS - 1)
        layer = torch.zeros(picture.shape[0], 4, height, width, device=self.device)
        for level, texture in enumerate(self._levels):
            share = (1 - (detail - level).abs()).clamp(min=0)[:, None, None, None]
            texels = texture[index].float() / 255
            layer = layer + share * nnf.grid_sample(texels, grid, align_corners=False)
        layer = layer * (sprite >= 0).float()[:, None, None, None]
        colour, alpha = layer[:, :3] * 2 - layer[:, 3:], layer[:, 3:]
        return picture * (1 - alpha) + colour

    def uniform(self, shape: tuple[int, ...], generator: torch.Generator) -> torch.Tensor:
        """Return uniform numbers in [0, 1) on the sprites' device."""
        return torch.rand(shape, generator=generator, device=self.device)


def _padded(scene: Scene) -> list[float]:
    rows = [(place.sprite, place.column, place.columns, place.size) for place in scene.placements]
    rows += [(-1, 0, 1, 0.0)] * (MAX_SPRITES - len(rows))
    return [float(value) for row in rows for value in row]


def _mip_levels(rgba: torch.Tensor) -> list[torch.Tensor]:
    """Return premultiplied uint8 levels, each half the size of the one before."""
    level = rgba.float()
    level = torch.cat([level[:, :3] * level[:, 3:] / 255, level[:, 3:]], dim=1)
    levels = []
    for _ in range(_LEVELS):
        levels.append(level.round().to(torch.uint8))
        level = nnf.avg_pool2d(level, 2)
    return levels
