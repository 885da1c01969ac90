"""The lean pass computes what the library's transformer computes, gradients included."""

import pytest
import torch
from tools.pocket.video_conditioning import CONTROL_CHANNELS, LATENT_CHANNELS
from tools.pocket.video_flow import Models
from tools.pocket.video_lean import LeanFlow
from tools.pocket.video_models import (
    TEXT_WIDTH,
    TINY,
    build_text_encoder,
    build_transformer,
    pad_bias,
)

BATCH, TOKENS, PADDED = 2, 6, 64


@pytest.mark.parametrize("steered", [False, True])
def test_equals_the_library(steered: bool) -> None:
    generator = torch.Generator().manual_seed(1)
    models = Models(transformer=build_transformer(TINY), text_encoder=build_text_encoder(TINY, 64))
    with torch.no_grad():
        # Some of them start at zero, which would hide differences.
        for weight in models.transformer.parameters():
            weight += 0.05 * torch.randn(weight.shape, generator=generator)
    noisy = torch.randn(BATCH, LATENT_CHANNELS, 3, 4, 6, generator=generator)
    times = torch.tensor([300.0, 900.0])
    words = torch.randn(BATCH, TOKENS, TEXT_WIDTH, generator=generator)
    lengths = torch.tensor([3, 5])
    words = words * (torch.arange(TOKENS)[None, :, None] < lengths[:, None, None])
    control = None
    if steered:
        control = torch.randn(BATCH, CONTROL_CHANNELS, 3, 4, 6, generator=generator)
    padded = torch.cat([words, torch.zeros(BATCH, PADDED - TOKENS, TEXT_WIDTH)], dim=1)

    if control is None:
        expected = models.plain(noisy, times, padded, return_dict=False)[0]
    else:
        expected = models.transformer(
            noisy, times, padded, control_hidden_states=control, return_dict=False
        )[0]
    torch.autograd.backward(expected.square().mean())
    wanted = [_gradient(weight) for weight in models.transformer.parameters()]
    models.transformer.zero_grad()
    bias = pad_bias(lengths, PADDED, TOKENS)
    made = LeanFlow(models.transformer)(noisy, times, words, bias, control)
    torch.autograd.backward(made.square().mean())

    assert torch.allclose(made, expected, atol=1e-4, rtol=1e-4)
    found = [_gradient(weight) for weight in models.transformer.parameters()]
    assert any(float(row.abs().max()) > 0 for row in wanted)
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, atol=1e-4, rtol=1e-3)


def _gradient(weight: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
