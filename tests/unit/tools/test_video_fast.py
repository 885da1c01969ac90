"""The VAE's fast kernels compute what the library's compute."""

import pytest
import torch
from tools.pocket.video_fast import Variant, apply_variant, whole_moments, whole_pictures
from tools.pocket.video_models import TINY, build_vae


@pytest.mark.parametrize("variant", list(Variant))
@pytest.mark.parametrize("frames", [1, 5])
def test_equals_the_library(variant: Variant, frames: int) -> None:
    vae = build_vae(TINY).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weight in vae.parameters():
            weight += 0.02 * torch.randn(weight.shape, generator=generator)
    video = torch.rand(1, 3, frames, 16, 24, generator=generator) * 2 - 1
    with torch.no_grad():
        expected = vae.encode(video).latent_dist.parameters
        clip = vae.decode(expected[:, :16]).sample
        apply_variant(vae, variant)
        moments = whole_moments(vae, video)
        shown = whole_pictures(vae, expected[:, :16])
    assert torch.allclose(moments, expected, atol=1e-4)
    assert torch.allclose(shown.clamp(-1, 1), clip, atol=1e-4)
    assert float(clip.std()) > 0.0
