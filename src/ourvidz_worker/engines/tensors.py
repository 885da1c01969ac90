"""Small operations on tensors that the picture and the clip engine share."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.engines.encode import Pixels

FAULT = "The numbers of this generation left their range; try again."
CONSTANT = "The generation ended in a single colour; try again."


def draw_noise(shape: Sequence[int], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal noise, drawn on the CPU in fp32 so that it depends on the seed alone."""
    return torch.randn(tuple(shape), generator=generator, dtype=torch.float32).to(device)


def seeded(seed: int) -> torch.Generator:
    """A CPU generator of one picture's own."""
    return torch.Generator("cpu").manual_seed(seed)


def check_finite(tensor: Tensor) -> None:
    """Raise `AttemptError` when a value is no number or left its range (S-2)."""
    if not bool(torch.isfinite(tensor).all()):
        raise AttemptError(FAULT)


def to_pixels(decoded: Tensor) -> Pixels:
    """Decoded values `[3, H, W]` or `[3, T, H, W]` in -1..1 as pixels, channels last.

    Raises `AttemptError` for values that are not finite.
    """
    check_finite(decoded)
    scaled = (decoded.float() * 0.5 + 0.5).clamp(0, 1).mul(255).round().to(torch.uint8)
    pixels: Pixels = scaled.movedim(0, -1).contiguous().cpu().numpy()
    return pixels


def check_not_constant(pixels: Pixels) -> None:
    """Raise `AttemptError` for a picture or clip of one single value (S-2)."""
    if pixels.min() == pixels.max():
        raise AttemptError(CONSTANT)


def to_values(pixels: Pixels, device: torch.device, dtype: torch.dtype) -> Tensor:
    """A picture's pixels as values `[1, 3, H, W]` in -1..1."""
    values = torch.from_numpy(pixels.copy()).movedim(-1, 0).unsqueeze(0)
    return (values.to(device=device, dtype=torch.float32) / 127.5 - 1.0).to(dtype)
