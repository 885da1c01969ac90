"""Previews: a linear projection from latents to colours, fitted to each VAE by its own decodes."""

import torch
from torch import Tensor
from torch.nn import functional

from ourvidz_worker.engines.encode import Pixels

_RIDGE = 1e-3
"""Keeps the fit solvable when few or equal samples were seen."""


class LatentProjection:
    """Least squares from latents `[C, h, w]` (plus one) to the mean colour of their pixels.

    It has no part in any result: it only draws what the work looks like before it is decoded.
    """

    def __init__(self, channels: int) -> None:
        """Nothing is known yet: every picture is black before the first `learn`."""
        self._gram = torch.zeros(channels + 1, channels + 1, dtype=torch.float64)
        self._moment = torch.zeros(channels + 1, 3, dtype=torch.float64)
        self._weights = torch.zeros(channels + 1, 3, dtype=torch.float64)

    def learn(self, latents: Tensor, pixels: Pixels) -> None:
        """Add one decode: latents `[C, h, w]` and the picture they became."""
        rows = _rows(latents)
        colours = torch.from_numpy(pixels.copy()).movedim(-1, 0).unsqueeze(0).double()
        small = functional.adaptive_avg_pool2d(colours, (latents.shape[-2], latents.shape[-1]))[0]
        self._gram += rows.T @ rows
        self._moment += rows.T @ small.flatten(1).T
        ridge = _RIDGE * torch.eye(len(self._gram), dtype=torch.float64)
        self._weights = torch.linalg.solve(self._gram + ridge, self._moment)

    def picture(self, latents: Tensor) -> Pixels:
        """The colours of latents `[C, h, w]`, one pixel each."""
        colours = _rows(latents) @ self._weights
        shaped = colours.reshape(*latents.shape[-2:], 3).nan_to_num().clamp(0, 255)
        pixels: Pixels = shaped.round().to(torch.uint8).numpy()
        return pixels


def _rows(latents: Tensor) -> Tensor:
    flat = latents.detach().to(device="cpu", dtype=torch.float64).flatten(1).T
    return torch.cat([flat, torch.ones(len(flat), 1, dtype=torch.float64)], dim=1)
