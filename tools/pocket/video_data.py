"""Synthetic clips: sprites moving over coloured backgrounds, drawn on the training device.

A clip is ``[3, T, H, W]`` in [-1, 1] with a caption that says the thing, the motion and, unless it
is the plain one, the background's colour. Frames are drawn at twice the size and averaged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tools.pocket.captions import PLAIN
from tools.pocket.motion import MOTIONS, RANDOM_VALUES, calm, poses
from tools.pocket.sprites import SpritePack
from tools.pocket.video_captions import PALETTE, MotionGrammar
from tools.pocket.vocabulary import filming_weights

FRAMES = 17
FPS = 16
# Width and height of the three buckets, in pixels.
BUCKETS: tuple[tuple[int, int], ...] = ((96, 96), (80, 128), (128, 80))
_OVERSAMPLING = 2
_COLOUR_JITTER = 0.035
_GRADIENT = 0.06
_DRAW_CHUNK = 64
_UNNAMED_SHARE = 0.5
# How far paths may depart from their middle: little where the text alone says what happens, for
# then a thing's outline is the same in all its clips. Pinned pictures show any place and size.
TEXT_SPREAD, WIDEST_SPREAD = 0.25, 1.0
_STILL_MOTION_SHARE = 0.3
_BYTE_MAX = 255.0


class Purpose(Enum):
    """Who will see the clips; decides when the background's colour may go unsaid."""

    TEXT = "text"
    PINNED = "pinned"
    SUBJECT = "subject"


@dataclass(frozen=True, kw_only=True)
class Order:
    """A wish for clips: how many, of which bucket and length, and for whom."""

    count: int
    bucket: tuple[int, int]
    frames: int
    purpose: Purpose


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Clips ``video [B, 3, T, H, W]``, ``captions`` and a still ``portrait [B, 3, H, W]`` each.

    The portrait shows the same thing; its background is the clip's own where the caption names
    none, otherwise any. ``objects``, ``colours`` and ``kinds`` are indices.
    """

    video: Tensor
    portrait: Tensor
    captions: list[str]
    objects: Tensor
    colours: Tensor
    kinds: Tensor


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What to draw, one row per clip: sprite, motion, colour and the random numbers behind them."""

    objects: Tensor
    kinds: Tensor
    backgrounds: Tensor
    gradients: Tensor
    random: Tensor


class ClipSource:
    """Draws random clips from a sprite pack; every draw follows from the seed."""

    def __init__(self, pack: SpritePack, device: torch.device, seed: int) -> None:
        self._count = len(pack.infos)
        self._device = device
        self._rng = np.random.default_rng(seed)
        self._grammar = MotionGrammar(pack.infos, seed)
        rgba = pack.rgba.to(device).float() / _BYTE_MAX
        self._sprites = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)
        self._object_weights = np.array(filming_weights(pack.infos))
        motion_weights = np.array([motion.weight for motion in MOTIONS])
        self._motion_weights = motion_weights / motion_weights.sum()

    def draw(self, order: Order) -> Clips:
        """Draw clips whose (object, colour) pairs are not held out."""
        objects, kinds, colours = self._choose(order)
        named = colours != PLAIN
        if order.purpose is not Purpose.TEXT:
            named &= self._rng.random(order.count) > _UNNAMED_SHARE
        said = np.where(named, colours, PLAIN)
        rows = zip(objects.tolist(), kinds.tolist(), said.tolist(), strict=True)
        captions = [self._grammar.word(*row) for row in rows]
        return self.render(order, objects, kinds, colours, captions, named)

    def film(self, order: Order) -> Tensor:
        """Draw clips alone, without captions and portraits, ``[B, 3, T, H, W]``."""
        scene = self._scene(order.purpose, *self._choose(order))
        return self._draw_scene(scene, order.bucket, order.frames)

    def render(
        self,
        order: Order,
        objects: np.ndarray,
        kinds: np.ndarray,
        colours: np.ndarray,
        captions: list[str],
        named: np.ndarray,
    ) -> Clips:
        """Draw exactly the given things, motions and colours (indices, ``[B]``)."""
        scene = self._scene(order.purpose, objects, kinds, colours)
        video = self._draw_scene(scene, order.bucket, order.frames)
        other = self._rng.choice(len(PALETTE), len(objects))
        shown = np.where(named, other, colours)
        still = self._scene(order.purpose, objects, np.zeros_like(kinds), shown)
        portrait = self._draw_scene(still, order.bucket, 1)[:, :, 0]
        return Clips(
            video=video,
            portrait=portrait,
            captions=captions,
            objects=torch.from_numpy(objects),
            colours=torch.from_numpy(colours),
            kinds=torch.from_numpy(kinds),
        )

    def _choose(self, order: Order) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Choose things, motions and background colours, none of a held-out pair."""
        count = order.count
        objects = self._rng.choice(self._count, count, p=self._object_weights)
        kinds = self._rng.choice(len(MOTIONS), count, p=self._motion_weights)
        if order.frames == 1:
            kinds[self._rng.random(count) > _STILL_MOTION_SHARE] = 0
        return objects, kinds, np.array([self._grammar.colour(index) for index in objects])

    def _scene(
        self, purpose: Purpose, objects: np.ndarray, kinds: np.ndarray, colours: np.ndarray
    ) -> Scene:
        count = len(objects)
        rgb = np.array(PALETTE)[colours] / _BYTE_MAX
        rgb = rgb + self._rng.uniform(-1.0, 1.0, rgb.shape) * _COLOUR_JITTER
        gradients = self._rng.uniform(-_GRADIENT, _GRADIENT, count)
        random = self._send(self._rng.random((count, RANDOM_VALUES))).float()
        spread = self._send(self._spread(purpose, count)).float()
        return Scene(
            objects=self._send(objects),
            kinds=self._send(kinds),
            backgrounds=self._send(rgb).float(),
            gradients=self._send(gradients).float(),
            random=calm(random, spread),
        )

    def _spread(self, purpose: Purpose, count: int) -> np.ndarray:
        widest = TEXT_SPREAD if purpose is Purpose.TEXT else WIDEST_SPREAD
        return self._rng.uniform(TEXT_SPREAD, widest, (count, 1))

    def _send(self, values: np.ndarray) -> Tensor:
        sent = torch.from_numpy(np.ascontiguousarray(values))
        # Without this every draw would wait for all work queued on the device.
        return sent.to(self._device, non_blocking=True)

    def _draw_scene(self, scene: Scene, bucket: tuple[int, int], frames: int) -> Tensor:
        parts = []
        for start in range(0, len(scene.objects), _DRAW_CHUNK):
            rows = slice(start, start + _DRAW_CHUNK)
            reach = (bucket[0] / min(bucket), bucket[1] / min(bucket))
            path = poses(scene.kinds[rows], frames, reach, scene.random[rows])
            ground = _ground(scene.backgrounds[rows], scene.gradients[rows], bucket)
            parts.append(draw(self._sprites[scene.objects[rows]], path, ground, bucket))
        return torch.cat(parts)


def draw(sprites: Tensor, path: Tensor, ground: Tensor, bucket: tuple[int, int]) -> Tensor:
    """Draw sprites along their paths over the ground.

    ``sprites [B, 4, S, S]`` are premultiplied by alpha, ``path`` are poses ``[B, T, 5]``, ``ground
    [B, 3, H, W]`` is in [0, 1]. Returns ``[B, 3, T, H, W]`` in [-1, 1].
    """
    width, height = bucket
    batch, frames = path.shape[:2]
    grid = _sample_grid(path, width * _OVERSAMPLING, height * _OVERSAMPLING)
    flat = grid.view(batch, frames * height * _OVERSAMPLING, width * _OVERSAMPLING, 2)
    big = functional.grid_sample(sprites, flat, mode="bilinear", align_corners=False)
    shown = functional.avg_pool2d(big, _OVERSAMPLING).view(batch, 4, frames, height, width)
    shown = shown * path[:, None, :, None, None, 4]
    over = ground[:, :, None] * (1.0 - shown[:, 3:]) + shown[:, :3]
    return over.clamp(0.0, 1.0) * 2.0 - 1.0


def _sample_grid(path: Tensor, width: int, height: int) -> Tensor:
    """Return where each output pixel reads its sprite: ``[B, T, height, width, 2]``."""
    short = min(width, height)
    across = (torch.arange(width, device=path.device) + 0.5 - width / 2) / (short / 2)
    down = (torch.arange(height, device=path.device) + 0.5 - height / 2) / (short / 2)
    x, y, size, angle, _ = (path[:, :, None, None, index] for index in range(path.shape[2]))
    dx, dy = across[None, None, None, :] - x, down[None, None, :, None] - y
    cosine, sine = torch.cos(angle) / size, torch.sin(angle) / size
    return torch.stack([dx * cosine + dy * sine, dy * cosine - dx * sine], dim=-1)


def _ground(rgb: Tensor, gradients: Tensor, bucket: tuple[int, int]) -> Tensor:
    width, height = bucket
    slope = torch.linspace(-1.0, 1.0, height, device=rgb.device)[None, :] * gradients[:, None]
    ground = rgb[:, :, None] + slope[:, None, :]
    return ground.clamp(0.0, 1.0)[:, :, :, None].expand(-1, -1, -1, width)
