"""Muon's step: every direction at the same pace, nothing from gradients that are no numbers."""

import pytest
import torch
from tools.pocket.video_muon import Muon, orthogonal

ONE = torch.ones(())


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 6, 12), (2, 12, 6)])
def test_all_directions_become_about_equally_long(shape: tuple[int, int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    given = torch.randn(shape, generator=generator) * 40
    made = orthogonal(given)
    u, _, v = torch.linalg.svd(given, full_matrices=False)
    lengths = torch.linalg.svdvals(made)
    assert made.shape == given.shape
    assert 0.3 < float(lengths.min()) <= float(lengths.max()) < 1.4
    # The directions stay: made in their basis is diagonal.
    inner = u.mT @ made @ v.mT
    off = inner - torch.diag_embed(torch.diagonal(inner, dim1=-2, dim2=-1))
    assert float(off.abs().max()) < 0.05


def test_steps_lead_to_the_target() -> None:
    generator = torch.Generator().manual_seed(2)
    target = torch.randn(6, 4, generator=generator)
    weights = [torch.zeros(6, 4, requires_grad=True), torch.zeros(3, 3, requires_grad=True)]
    optimiser = Muon(weights, 0.0)
    for step in range(200):
        weights[0].grad = (weights[0] - target).detach()
        optimiser.step(0.1 * (1 - step / 200), ONE)
    assert float((weights[0] - target).detach().abs().max()) < 0.1
    # Without a gradient nothing moves.
    assert float(weights[1].detach().abs().max()) == 0.0


def test_a_step_that_is_not_wanted_changes_nothing() -> None:
    weight = torch.ones(4, 4, requires_grad=True)
    weight.grad = torch.full((4, 4), float("nan"))
    Muon([weight], 0.0).step(0.1, torch.zeros(()))
    assert bool((weight == 1.0).all())
