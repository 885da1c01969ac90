"""The tensors of the five reference modes, as a Wan VACE transformer expects them.

``control [B, 96, T' + R, h, w]`` is, per latent frame, 16 channels of the VAE's normalised latents
of video x (1 - mask) ("inactive"), 16 of video x mask ("reactive") and 64 mask channels (the mask's
8 x 8 pixels per latent pixel, nearest-exact in time). Mask 1 means generate, 0 keep; unknown
pixels are 0.0 in [-1, 1]. R reference pictures are prepended as latent frames with inactive =
latents of the picture, reactive = 0 and mask = 0. T' = (T - 1) / 4 + 1.

Latent frame j reads the mask of pixel frame floor((j + 0.5) T / T'): the first reads frame 1, the
last frame T - 2. So the start keeps frames {0, 1} and the end {T - 4 .. T - 1}, each holding the
one given picture.
"""

from __future__ import annotations

from enum import Enum

import torch
from torch import Tensor
from torch.nn import functional

SPATIAL_FACTOR = 8
TEMPORAL_FACTOR = 4
LATENT_CHANNELS = 16
MASK_CHANNELS = SPATIAL_FACTOR * SPATIAL_FACTOR
CONTROL_CHANNELS = 2 * LATENT_CHANNELS + MASK_CHANNELS
HEAD_FRAMES = 2
TAIL_FRAMES = TEMPORAL_FACTOR


class Mode(Enum):
    """How reference pictures steer a clip."""

    NONE = "none"
    SINGLE = "single"
    SUBJECT = "subject"
    START = "start"
    END = "end"
    BOTH = "both"


PINS_FIRST = frozenset({Mode.SINGLE, Mode.START, Mode.BOTH})
PINS_LAST = frozenset({Mode.END, Mode.BOTH})
HAS_REFERENCE = frozenset({Mode.SINGLE, Mode.SUBJECT})


def latent_frames(frames: int) -> int:
    """Return T' for T pixel frames (T = 4 k + 1)."""
    return (frames - 1) // TEMPORAL_FACTOR + 1


def kept_frames(mode: Mode, frames: int) -> tuple[int, ...]:
    """Return the pixel frames that the control video holds and the mask keeps."""
    head = range(min(HEAD_FRAMES, frames)) if mode in PINS_FIRST else range(0)
    # In the shortest clip the first latent frame reads frame 1: the tail must leave it alone.
    begin = max(frames - TAIL_FRAMES, HEAD_FRAMES)
    tail = range(begin, frames) if mode in PINS_LAST else range(0)
    return tuple(sorted({*head, *tail}))


def control_video(mode: Mode, frames: int, first: Tensor, last: Tensor) -> Tensor:
    """Return the control video ``[B, 3, T, H, W]``: given pictures where kept, else 0.0.

    ``first`` and ``last`` are pictures ``[B, 3, H, W]`` in [-1, 1]; a mode reads those it pins.
    """
    batch, channels, height, width = first.shape
    video = first.new_zeros(batch, channels, frames, height, width)
    for frame in kept_frames(mode, frames):
        at_head = mode in PINS_FIRST and frame < HEAD_FRAMES
        video[:, :, frame] = first if at_head else last
    return video


def pixel_mask(mode: Mode, frames: int, height: int, width: int) -> Tensor:
    """Return the mask ``[T, H, W]``: 0 for kept frames, 1 elsewhere."""
    mask = torch.ones(frames, height, width)
    mask[list(kept_frames(mode, frames))] = 0.0
    return mask


def latent_mask(mask: Tensor) -> Tensor:
    """Fold a pixel mask ``[T, H, W]`` into mask channels ``[64, T', H / 8, W / 8]``."""
    frames, height, width = mask.shape
    rows, columns = height // SPATIAL_FACTOR, width // SPATIAL_FACTOR
    blocks = mask.view(frames, rows, SPATIAL_FACTOR, columns, SPATIAL_FACTOR)
    channels = blocks.permute(2, 4, 0, 1, 3).reshape(1, MASK_CHANNELS, frames, rows, columns)
    size = (latent_frames(frames), rows, columns)
    return functional.interpolate(channels, size=size, mode="nearest-exact")[0]


def mode_mask(mode: Mode, frames: int, height: int, width: int) -> Tensor:
    """Return the mask channels ``[64, T', H / 8, W / 8]`` of a mode."""
    return latent_mask(pixel_mask(mode, frames, height, width))


def assemble_control(
    inactive: Tensor, reactive: Tensor, mask: Tensor, reference: Tensor | None = None
) -> Tensor:
    """Join the parts into ``control [B, 96, T' + R, h, w]``.

    ``inactive`` and ``reactive`` are normalised latents ``[B, 16, T', h, w]``, ``mask`` has 64
    channels in place of 16, ``reference`` the normalised latents of R pictures, ``[B, 16, R, h,
    w]``.
    """
    control = torch.cat([inactive, reactive, mask], dim=1)
    if reference is None:
        return control
    batch, _, pictures, rows, columns = reference.shape
    unset = CONTROL_CHANNELS - LATENT_CHANNELS
    rest = reference.new_zeros(batch, unset, pictures, rows, columns)
    return torch.cat([torch.cat([reference, rest], dim=1), control], dim=2)
