"""Muon: the momentum of a matrix made orthogonal before it is subtracted.

All directions of a matrix then learn at the same pace, the rare words' as fast as the common ones'.
Matrices of one shape go through the few products together. After Jordan and others, "Muon: an
optimizer for hidden layers in neural networks" (2024).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

MOMENTUM = 0.95
ROUNDS = 5
_LINEAR, _CUBIC, _QUINTIC = 3.4445, -4.7750, 2.0315
_TINY = 1e-7


class Muon:
    """Updates matrices in place from their gradients; the step is the same for every scale."""

    def __init__(self, weights: Sequence[Tensor], weight_decay: float) -> None:
        """Take the matrices ``[M, N]`` to train."""
        shapes = {tuple(weight.shape) for weight in weights}
        self._groups = [
            [weight for weight in weights if tuple(weight.shape) == shape]
            for shape in sorted(shapes)
        ]
        self._moments = [[torch.zeros_like(weight) for weight in group] for group in self._groups]
        self._decay = weight_decay

    @torch.no_grad()
    def step(self, rate: float, wanted: Tensor) -> None:
        """Go one step; where ``wanted``, a single 0 or 1, is 0, nothing changes."""
        for weights, moments in zip(self._groups, self._moments, strict=True):
            gradients = [
                torch.zeros_like(weight) if weight.grad is None else weight.grad
                for weight in weights
            ]
            clean = torch.nan_to_num(torch.stack(gradients), nan=0.0, posinf=0.0, neginf=0.0)
            torch._foreach_lerp_(moments, list(clean.unbind()), 1.0 - MOMENTUM)
            ahead = torch.lerp(clean, torch.stack(moments), MOMENTUM)
            rows, columns = ahead.shape[-2:]
            size = rate * max(1.0, rows / columns) ** 0.5
            changes = orthogonal(ahead) * (-size * wanted)
            torch._foreach_mul_(weights, 1.0 - rate * self._decay)
            torch._foreach_add_(weights, list(changes.unbind()))


def orthogonal(matrices: Tensor) -> Tensor:
    """Return matrices ``[B, M, N]`` with the same directions and singular values near 1.

    They lie between about 0.7 and 1.2: the iteration trades accuracy for speed.
    """
    kind = torch.bfloat16 if matrices.is_cuda else torch.float32
    wide = matrices.shape[-2] <= matrices.shape[-1]
    x = matrices if wide else matrices.mT
    x = (x / (x.norm(dim=(-2, -1), keepdim=True) + _TINY)).to(kind)
    for _ in range(ROUNDS):
        square = x @ x.mT
        x = _LINEAR * x + (_CUBIC * square + _QUINTIC * square @ square) @ x
    made: Tensor = (x if wide else x.mT).to(matrices.dtype)
    return made
