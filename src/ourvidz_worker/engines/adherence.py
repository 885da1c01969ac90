"""How near a frame came to the picture it was to be: measured, for the receipt."""

import math

import torch
from torch.nn import functional

from ourvidz_worker.engines.encode import Pixels

WINDOW = 8
_LUMA = (0.299, 0.587, 0.114)
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
IDENTICAL_DB = 99.0
"""What is told in place of a ratio that has no number."""


def psnr(one: Pixels, other: Pixels) -> float:
    """Peak signal to noise ratio of two pictures, dB; `IDENTICAL_DB` for equal ones."""
    error = float(((_values(one) - _values(other)) ** 2).mean())
    return IDENTICAL_DB if error == 0 else 10 * math.log10(255 * 255 / error)


def ssim(one: Pixels, other: Pixels) -> float:
    """Structural similarity of two pictures' luma (Wang et al. 2004), windows of 8 x 8 pixels."""
    a, b = _luma(one), _luma(other)
    mean_a, mean_b = _smooth(a), _smooth(b)
    variance_a = _smooth(a * a) - mean_a**2
    variance_b = _smooth(b * b) - mean_b**2
    covariance = _smooth(a * b) - mean_a * mean_b
    above = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
    below = (mean_a**2 + mean_b**2 + _C1) * (variance_a + variance_b + _C2)
    return float((above / below).mean())


def _values(pixels: Pixels) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).double()


def _luma(pixels: Pixels) -> torch.Tensor:
    return (_values(pixels) * torch.tensor(_LUMA, dtype=torch.float64)).sum(dim=-1)[None, None]


def _smooth(values: torch.Tensor) -> torch.Tensor:
    return functional.avg_pool2d(values, WINDOW, stride=1)
