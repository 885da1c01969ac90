"""Previews are a linear guess that learns from decodes, and nearness is measured."""

import numpy as np
import pytest
import torch

from ourvidz_worker.engines.adherence import IDENTICAL_DB, psnr, ssim
from ourvidz_worker.engines.encode import Pixels
from ourvidz_worker.engines.previews import LatentProjection
from ourvidz_worker.engines.tensors import to_pixels


def decode(latents: torch.Tensor) -> Pixels:
    """A decoder that is linear, so that the fit must find it."""
    mix = torch.tensor([[0.2, 0.1, 0.0], [0.0, 0.2, 0.1], [0.1, 0.0, 0.2], [0.05, 0.1, 0.1]])
    colours = torch.einsum("chw,cr->rhw", latents, mix)
    return to_pixels(colours.repeat_interleave(8, 1).repeat_interleave(8, 2))


def noise(seed: int) -> torch.Tensor:
    return torch.randn(4, 9, 7, generator=torch.Generator().manual_seed(seed))


def test_a_projection_learns_the_decoder() -> None:
    projection = LatentProjection(4)
    assert projection.picture(noise(0)).max() == 0
    for seed in range(3):
        projection.learn(noise(seed), decode(noise(seed)))
    shown = projection.picture(noise(9)).astype(int)
    assert shown.shape == (9, 7, 3)
    assert np.abs(shown - decode(noise(9))[::8, ::8]).max() <= 3


def test_a_projection_shows_what_is_no_number_as_something() -> None:
    projection = LatentProjection(4)
    projection.learn(noise(1), decode(noise(1)))
    assert projection.picture(torch.full((4, 2, 2), float("nan"))).shape == (2, 2, 3)


def test_nearness_grows_with_likeness() -> None:
    picture = decode(noise(1))
    near = np.clip(picture.astype(int) + 4, 0, 255).astype(np.uint8)
    other = decode(noise(2))
    assert psnr(picture, picture) == IDENTICAL_DB
    assert ssim(picture, picture) == pytest.approx(1)
    assert psnr(picture, near) > psnr(picture, other)
    assert 1 > ssim(picture, near) > ssim(picture, other)
    assert psnr(picture, near) == pytest.approx(36.09, abs=0.2)
