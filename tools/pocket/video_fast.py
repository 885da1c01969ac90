"""Faster arithmetic for training the Wan VAE: the same results, other kernels.

The stock VAE goes through a clip four frames at a time and carries a cache along; its layers being
causal, one pass over the whole clip gives the same at a fraction of the kernel launches. A single
frame meets the last time tap alone: a convolution of two dimensions, a third of the work. The norm
is the same formula with fewer passes over memory. `choose_variant` times a few convolution layouts
for a moment and keeps the fastest that runs.
"""

from __future__ import annotations

import time
import types
from collections.abc import Callable, Sequence
from enum import Enum

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanRMS_norm,
)
from torch import Tensor, nn
from torch.nn import functional

from tools.pocket.graphed import Losses, Work
from tools.pocket.video_types import WanVae

_NORM_FLOOR = 1e-6
_TIMED_RUNS = 5


class Variant(Enum):
    """How causal convolutions run."""

    STOCK = "stock"
    LAST_3D = "stock, channels last"
    FOLDED = "time taps as channels"


def apply_variant(vae: WanVae, variant: Variant) -> None:
    """Make the VAE's layers run this way on whole clips, in place; weights keep their values."""
    last = variant is not Variant.STOCK
    convolve = _folded_conv if variant is Variant.FOLDED else _lean_conv
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d):
            _replace(module, convolve)
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
    vae: WanVae,
    work: Work,
    like: Tensor,
    weights: Sequence[Tensor],
    synchronise: Callable[[], None],
) -> Variant:
    """Time ``work`` (forward pass returning a loss) with its backward; apply the fastest."""
    times: dict[Variant, float] = {}
    for variant in Variant:
        apply_variant(vae, variant)
        try:
            times[variant] = _time(Losses(work, weights, like.device), like, synchronise)
        except RuntimeError as error:
            print(f"variant {variant.value} failed: {error}"[:300], flush=True)
    best = min(times, key=lambda variant: times[variant], default=Variant.STOCK)
    apply_variant(vae, best)
    for weight in weights:
        # Their layout may have changed, and that of their gradients with it.
        weight.grad = None
    shown = ", ".join(f"{variant.value} {1e3 * took:.1f} ms" for variant, took in times.items())
    print(f"vae step: {shown}; chosen: {best.value}", flush=True)
    return best


def _time(losses: Losses, like: Tensor, synchronise: Callable[[], None]) -> float:
    losses(like)
    synchronise()
    begin = time.monotonic()
    for _ in range(_TIMED_RUNS):
        losses(like)
    synchronise()
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


def _lean_conv(module: WanCausalConv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
    """Convolve; a frame with nothing but padding before it needs the last time tap only."""
    if cache_x is not None or x.shape[2] > 1 or module.kernel_size[0] == 1:
        return WanCausalConv3d.forward(module, x, cache_x)
    # The layer hides its padding there, as whole numbers.
    wide, _, high, _, before, _ = map(int, module._padding)  # noqa: SLF001
    if before == 0:
        return WanCausalConv3d.forward(module, x, cache_x)
    layout = torch.contiguous_format if module.weight.is_contiguous() else torch.channels_last
    weight = module.weight[:, :, -1].contiguous(memory_format=layout)
    frame = x[:, :, 0].contiguous(memory_format=layout)
    out = functional.conv2d(frame, weight, module.bias, padding=(high, wide))
    return out[:, :, None]


def _folded_conv(module: WanCausalConv3d, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
    """Convolve clips with the time taps side by side, as channels of pictures."""
    taps, stride = module.kernel_size[0], module.stride[0]
    if cache_x is not None or x.shape[2] == 1 or taps == 1:
        return _lean_conv(module, x, cache_x)
    wide, _, high, _, before, _ = map(int, module._padding)  # noqa: SLF001 - as above
    x = functional.pad(x, (0, 0, 0, 0, before, 0))
    count = (x.shape[2] - taps) // stride + 1
    last = stride * (count - 1) + 1
    beside = torch.cat([x[:, :, tap : tap + last : stride] for tap in range(taps)], dim=1)
    pictures = beside.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    weight = module.weight.transpose(1, 2).flatten(1, 2)
    weight = weight.contiguous(memory_format=torch.channels_last)
    out = functional.conv2d(pictures, weight, module.bias, padding=(high, wide))
    clips = out.view(len(x), count, *out.shape[1:])
    return clips.transpose(1, 2)


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


def _lean_norm(module: WanRMS_norm, x: Tensor) -> Tensor:
    dimension = 1 if module.channel_first else -1
    length = torch.linalg.vector_norm(x, dim=dimension, keepdim=True, dtype=torch.float32)
    factor = module.scale / length.clamp_min(_NORM_FLOOR)
    scaled: Tensor = x * factor.to(x.dtype) * module.gamma.to(x.dtype)
    return scaled
