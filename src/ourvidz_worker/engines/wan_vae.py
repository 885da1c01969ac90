"""Wan's causal VAE: clips to normalised latents and back, one latent frame after another.

The weights stay in fp32, as conditioning wants it; a clip is decoded in the engine's precision
(bf16 keeps MS-SSIM at 0.9999). Decoding keeps its own cache, so that a stopped or paused clip
leaves nothing behind in the module.
"""

from collections.abc import Callable

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError, ModelLoadFailed
from ourvidz_worker.engines.device import Compute, Foreign, foreign_errors
from ourvidz_worker.engines.encode import Pixels
from ourvidz_worker.engines.tensors import draw_noise, seeded, to_pixels

Tick = Callable[[int, int], None]
"""Called after each latent frame with its number and how many there are."""

CANARY_SIDE = {"cuda": 64, "cpu": 8}
"""Latent pixels on each side of the picture that is decoded once at load."""


class ClipVae:
    """An `AutoencoderKLWan`; latents `[1, C, T', h, w]` here are those the transformer works on."""

    def __init__(self, module: Foreign, compute: Compute) -> None:
        """`module` is on the device, in fp32. Raises `ModelLoadFailed` for Wan 2.2's VAE."""
        config = module.config
        if config.patch_size is not None:
            raise ModelLoadFailed("The model's VAE is one of Wan 2.2, which is not supported.")
        self.module = module
        self.channels: int = config.z_dim
        self.factor: int = config.scale_factor_spatial
        self.frame_factor: int = config.scale_factor_temporal
        self._compute = compute
        self._mean = self._per_channel(config.latents_mean)
        self._deviation = self._per_channel(config.latents_std)

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip of `frames` (4k + 1)."""
        return (frames - 1) // self.frame_factor + 1

    def prove(self, learn: Callable[[Tensor, Pixels], None]) -> None:
        """Decode one fixed noise picture. Raises `ModelLoadFailed` when that gives no picture."""
        side = CANARY_SIDE[self._compute.device.type]
        latents = draw_noise((1, self.channels, 1, side, side), seeded(0), self._compute.device)
        with foreign_errors(ModelLoadFailed), torch.inference_mode():
            try:
                pixels = self.decode(latents, lambda done, total: None)
            except AttemptError as fault:
                raise ModelLoadFailed("The model's VAE gives no picture.") from fault
        learn(latents[0, :, 0], pixels[0])

    def decode(self, latents: Tensor, tick: Tick) -> Pixels:
        """The clip `T x H x W x 3`. Raises `AttemptError` for values out of range."""
        module, total = self.module, latents.shape[2]
        cache: list[Tensor | None] = [None] * _convolutions(module.decoder)
        chunks = []
        precision = self._compute.dtype
        scaled = (latents.float() * self._deviation + self._mean).to(module.dtype)
        with torch.autocast(
            self._compute.device.type, precision, enabled=precision != torch.float32
        ):
            ready = module.post_quant_conv(scaled)
            for index in range(total):
                decoded = module.decoder(
                    ready[:, :, index : index + 1],
                    feat_cache=cache,
                    feat_idx=[0],
                    first_chunk=index == 0,
                )
                chunks.append(to_pixels(decoded[0]))
                tick(index + 1, total)
        return np.concatenate(chunks)

    def encode(self, video: Tensor, tick: Tick) -> Tensor:
        """Latents of values `[1, 3, T, H, W]` in -1..1: the mode of what the encoder says."""
        module, total = self.module, self.latent_frames(video.shape[2])
        cache: list[Tensor | None] = [None] * _convolutions(module.encoder)
        chunks = []
        values = video.to(device=self._compute.device, dtype=module.dtype)
        for index in range(total):
            begin = 0 if index == 0 else 1 + self.frame_factor * (index - 1)
            part = values[:, :, begin : 1 + self.frame_factor * index]
            chunks.append(module.encoder(part, feat_cache=cache, feat_idx=[0]))
            tick(index + 1, total)
        moments = module.quant_conv(torch.cat(chunks, dim=2))
        mode: Tensor = moments.chunk(2, dim=1)[0].float()
        return (mode - self._mean) / self._deviation

    def _per_channel(self, values: list[float]) -> Tensor:
        row = torch.tensor(values, dtype=torch.float32)
        return row.view(1, -1, 1, 1, 1).to(self._compute.device)


def _convolutions(part: torch.nn.Module) -> int:
    return sum(isinstance(module, WanCausalConv3d) for module in part.modules())
