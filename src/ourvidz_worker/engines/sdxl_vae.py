"""SDXL's VAE: pictures to latents and back, in a precision that was seen to hold."""

from collections.abc import Callable

import torch
from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError, ModelLoadFailed
from ourvidz_worker.engines.device import Compute, Foreign, foreign_errors
from ourvidz_worker.engines.encode import Pixels
from ourvidz_worker.engines.tensors import draw_noise, seeded, to_pixels, to_values

CANARY_SIDE = {"cuda": 64, "cpu": 16}
"""Latent pixels on each side of the picture that is decoded once at load."""


class PictureVae:
    """An `AutoencoderKL` with its scale; latents here are those the UNet works on."""

    def __init__(self, module: Foreign, compute: Compute) -> None:
        """`module` is already on the device."""
        self.module = module
        self._compute = compute
        config = module.config
        self.channels: int = config.latent_channels
        self.factor: int = 2 ** (len(config.block_out_channels) - 1)
        self._scale: float = config.scaling_factor
        self._mean = _per_channel(getattr(config, "latents_mean", None), 0.0, compute)
        self._deviation = _per_channel(getattr(config, "latents_std", None), 1.0, compute)

    def prove(self, learn: Callable[[Tensor, Pixels], None]) -> None:
        """Decode one fixed noise picture; widen the precision to fp32 if it does not hold.

        In half precision the activations of some checkpoints overflow, which shows as black
        pictures. Raises `ModelLoadFailed` when fp32 does not help either.
        """
        side = CANARY_SIDE[self._compute.device.type]
        shape = (1, self.channels, side, side)
        latents = draw_noise(shape, seeded(0), self._compute.device)
        with foreign_errors(ModelLoadFailed), torch.inference_mode():
            try:
                pixels = self.decode(latents)
            except AttemptError as fault:
                if self.module.dtype == torch.float32:
                    raise ModelLoadFailed("The model's VAE gives no picture.") from fault
                self.module.to(torch.float32)
                pixels = self.decode(latents)
        learn(latents[0], pixels)

    def decode(self, latents: Tensor) -> Pixels:
        """The picture of latents `[1, C, h, w]`. Raises `AttemptError` for values out of range."""
        scaled = latents.float() * self._deviation / self._scale + self._mean
        decoded = self.module.decode(scaled.to(self.module.dtype), return_dict=False)[0]
        return to_pixels(decoded[0])

    def encode(self, pixels: Pixels) -> Tensor:
        """Latents `[1, C, h, w]` of a picture: the mode of what the encoder says, not a draw."""
        values = to_values(pixels, self._compute.device, self.module.dtype)
        mode: Tensor = self.module.encode(values).latent_dist.mode().float()
        return (mode - self._mean) / self._deviation * self._scale


def _per_channel(values: list[float] | None, default: float, compute: Compute) -> Tensor:
    row = torch.tensor(values if values is not None else [default], dtype=torch.float32)
    return row.view(1, -1, 1, 1).to(compute.device)
