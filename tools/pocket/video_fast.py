"""Faster arithmetic for training the Wan VAE: the same results, other kernels.

The stock VAE goes through a clip four frames at a time and carries a cache along; its layers being
causal, one pass over the whole clip gives the same at a fraction of the kernel launches. The norm
is the same formula with fewer passes over memory. `choose_variant` times a few convolution layouts
for a moment and keeps the fastest that runs.
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable
from enum import Enum

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanRMS_norm,
)
from torch import Tensor, nn
from torch.nn import functional

from tools.pocket.video_types import WanVae

_NORM_FLOOR = 1e-6
_WARM_UP_RUNS, _TIMED_RUNS = 1, 3


class Variant(Enum):
    """How causal convolutions run."""

    STOCK = "stock"
    LAST_3D = "stock, channels last"
    FOLDED_LAST = "folded, channels last"


def apply_variant(vae: WanVae, variant: Variant) -> None:
    """Make the VAE's layers run this way on whole clips, in place; weights keep their values."""
    last = variant is Variant.LAST_3D
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d):
            _replace(module, _folded_last if variant is Variant.FOLDED_LAST else None)
            _lay_out(module, torch.channels_last_3d if last else torch.contiguous_format)
        elif isinstance(module, nn.Conv2d):
            _lay_out(module, torch.channels_last if last else torch.contiguous_format)
        elif isinstance(module, WanRMS_norm):
            _replace(module, _lean_norm)
        elif isinstance(module, WanResample):
            _replace(module, _whole_resample)


def whole_moments(vae: WanVae, video: Tensor) -> Tensor:
    """Return means and log variances ``[B, 32, T', h, w]`` of a video, in one pass."""
    moments: Tensor = vae.quant_conv(vae.encoder(_as_weights(vae, video)))
    return moments


def whole_pictures(vae: WanVae, latents: Tensor) -> Tensor:
    """Return the video of latents, in one pass and not clamped, which would stop gradients."""
    video: Tensor = vae.decoder(vae.post_quant_conv(_as_weights(vae, latents)))
    return video


def choose_variant(
    vae: WanVae, work: Callable[[], Tensor], synchronise: Callable[[], None]
) -> Variant:
    """Time ``work`` (forward pass returning a loss) with its backward; apply the fastest."""
    times: dict[Variant, float] = {}
    for variant in Variant:
        apply_variant(vae, variant)
        try:
            times[variant] = _time(vae, work, synchronise)
        except RuntimeError as error:
            print(f"variant {variant.value} failed: {error}", flush=True)
    best = min(times, key=lambda variant: times[variant], default=Variant.STOCK)
    apply_variant(vae, best)
    shown = ", ".join(f"{variant.value} {1e3 * took:.0f} ms" for variant, took in times.items())
    print(f"vae step: {shown}; chosen: {best.value}", flush=True)
    return best


def _time(vae: WanVae, work: Callable[[], Tensor], synchronise: Callable[[], None]) -> float:
    begin = 0.0
    for run in range(_WARM_UP_RUNS + _TIMED_RUNS):
        if run == _WARM_UP_RUNS:
            synchronise()
            begin = time.monotonic()
        vae.zero_grad()
        torch.autograd.backward(work())
    synchronise()
    vae.zero_grad()
    return (time.monotonic() - begin) / _TIMED_RUNS


def _replace(module: nn.Module, forward: Callable[..., Tensor] | None) -> None:
    module.__dict__.pop("forward", None)
    if forward is not None:
        module.__dict__["forward"] = types.MethodType(forward, module)


def _lay_out(module: nn.Conv2d | nn.Conv3d, layout: torch.memory_format) -> None:
    module.weight.data = module.weight.data.contiguous(memory_format=layout)


def _as_weights(vae: WanVae, values: Tensor) -> Tensor:
    weight = vae.encoder.conv_in.weight
    last = not weight.is_contiguous()
    return values.contiguous(
        memory_format=torch.channels_last_3d if last else torch.contiguous_format
    )


def _whole_resample(
    module: WanResample,
    x: Tensor,
    feat_cache: list[Tensor | None] | None = None,
    feat_idx: list[int] | None = None,
) -> Tensor:
    """Resample a whole clip: the first frame stands alone in time, the others follow in pairs."""
    if feat_cache is not None:
        return WanResample.forward(module, x, feat_cache, feat_idx)
    if module.mode == "upsample3d" and x.shape[2] > 1:
        pairs = module.time_conv(x[:, :, 1:])
        batch, _, frames, height, width = pairs.shape
        split = pairs.view(batch, 2, -1, frames, height, width)
        rest = torch.stack([split[:, 0], split[:, 1]], dim=3)
        rest = rest.reshape(batch, -1, 2 * frames, height, width)
        x = torch.cat([x[:, :, :1], rest], dim=2)
    batch, channels, frames, height, width = x.shape
    flat = x.transpose(1, 2).reshape(batch * frames, channels, height, width)
    flat = module.resample(flat)
    x = flat.view(batch, frames, *flat.shape[1:]).transpose(1, 2)
    if module.mode == "downsample3d" and frames > 1:
        x = torch.cat([x[:, :, :1], module.time_conv(x)], dim=2)
    return x


def _folded_last(module: WanCausalConv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
    """Convolve with the time taps side by side as channels of one 2D convolution."""
    layout = torch.channels_last
    taps, stride = module.kernel_size[0], module.stride[0]
    # The layer hides its padding there, as whole numbers.
    wide, _, high, _, before, _ = map(int, module._padding)  # noqa: SLF001
    if cache_x is not None and before > 0:
        x, before = torch.cat([cache_x, x], dim=2), before - cache_x.shape[2]
    x = functional.pad(x, (0, 0, 0, 0, before, 0))
    batch, _, frames, height, width = x.shape
    count = (frames - taps) // stride + 1
    last = stride * (count - 1) + 1
    shifted = [x[:, :, tap : tap + last : stride] for tap in range(taps)]
    stacked = torch.cat(shifted, dim=1).transpose(1, 2)
    flat = stacked.reshape(batch * count, -1, height, width).contiguous(memory_format=layout)
    weight = module.weight.transpose(1, 2).flatten(1, 2).contiguous(memory_format=layout)
    out = functional.conv2d(flat, weight, module.bias, padding=(high, wide))
    return out.view(batch, count, *out.shape[1:]).transpose(1, 2)


def _lean_norm(module: WanRMS_norm, x: Tensor) -> Tensor:
    dimension = 1 if module.channel_first else -1
    length = torch.linalg.vector_norm(x, dim=dimension, keepdim=True, dtype=torch.float32)
    factor = module.scale / length.clamp_min(_NORM_FLOOR)
    scaled: Tensor = x * factor.to(x.dtype) * module.gamma.to(x.dtype)
    return scaled
