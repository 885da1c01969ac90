"""Training the Wan VAE on clips, single frames and control videos, and measuring it."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanResample,
    WanResidualBlock,
)
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from tools.pocket.graphed import Losses
from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_conditioning import LATENT_CHANNELS, Mode, control_video
from tools.pocket.video_data import BUCKETS, FRAMES, ClipSource, Order, Purpose
from tools.pocket.video_fast import (
    Variant,
    apply_variant,
    choose_variant,
    whole_moments,
    whole_pictures,
)
from tools.pocket.video_state import indexed, is_saved, load_parts, restore, save_parts
from tools.pocket.video_stock import ClipStock
from tools.pocket.video_types import WanVae

KL_WEIGHT = 1e-4
EDGE_WEIGHT = 0.5
SQUARE_WEIGHT = 2.0
LEARNING_RATE, TUNING_RATE, FINAL_RATE = 1.4e-3, 5e-4, 1.5e-5
WARM_UP_STEPS = 100
AVERAGE_DECAY = 0.998
FIRST_LOG_VARIANCE, RESIDUAL_GAIN, QUIET_GAIN = -5.0, 0.3, 0.1
CLIP_NORM = 1.0
_LOG_EVERY_S, _SAVE_EVERY_S = 15.0, 120.0
# Frames per clip, share of the steps at first and from `_CLIPS_FROM` of the time on, clips per
# step at full size. Single frames teach outlines at a fraction of the price, so they come first.
_LENGTHS = ((1, 0.80, 0.12, 64), (5, 0.10, 0.40, 14), (9, 0.06, 0.28, 8), (FRAMES, 0.04, 0.20, 4))
_CLIPS_FROM = 0.4
_CONTROL_SHARE = 0.12
_SQUARE_SHARE = 0.7
_PROBE_CLIPS, _PROBE_FRAMES = 14, 5
_STATISTICS_CLIPS = 384
_STATISTICS_BATCH = 48
_LOGVAR_RANGE = 20.0


@dataclass(frozen=True, kw_only=True)
class VaePlan:
    """How long and how large: seconds, a divisor for batch sizes, the seed, the device.

    ``progress`` is the folder of the state from which a run that was cut off goes on.
    """

    seconds: float
    divisor: int
    seed: int
    device: torch.device
    peak_rate: float = LEARNING_RATE
    progress: Path | None = None


def train_vae(vae: WanVae, source: ClipSource, plan: VaePlan) -> WanVae:
    """Train for the planned time and return the averaged VAE, its latent statistics set."""
    initialise(vae)
    vae.to(plan.device).train()
    average = copy.deepcopy(vae)
    apply_variant(average, use_variant_of(vae, source, plan.device))
    steps = _fit(vae, average, list(vae.parameters()), source, plan)
    average.eval().requires_grad_(requires_grad=False)
    set_statistics(average, source, plan.device, plan.divisor)
    print(f"vae done: {steps} steps, PSNR {clip_psnr(average, source, plan)}", flush=True)
    return average


def tune_decoder(vae: WanVae, source: ClipSource, plan: VaePlan) -> WanVae:
    """Go on training the decoder alone: latents stay what they are, pictures get sharper."""
    vae.to(plan.device).train().requires_grad_(requires_grad=False)
    decoder = (vae.decoder, vae.post_quant_conv)
    for module in decoder:
        module.requires_grad_(requires_grad=True)
    weights = [weight for module in decoder for weight in module.parameters()]
    average = copy.deepcopy(vae)
    apply_variant(average, use_variant_of(vae, source, plan.device))
    steps = _fit(vae, average, weights, source, plan)
    average.eval().requires_grad_(requires_grad=False)
    print(f"decoder tuned: {steps} steps, PSNR {clip_psnr(average, source, plan)}", flush=True)
    return average


def _fit(
    vae: WanVae, average: WanVae, live: list[Tensor], source: ClipSource, plan: VaePlan
) -> int:
    """Train the weights in ``live`` and let ``average`` follow; return the number of steps."""
    rng = np.random.default_rng(plan.seed)
    stock = ClipStock(source, rng, plan.divisor)
    losses = Losses(_loss_of(vae, plan.device), live, plan.device)
    optimiser = torch.optim.AdamW(
        live, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=1e-3, fused=True
    )
    twins = dict(zip(vae.parameters(), average.parameters(), strict=True))
    means = [twins[weight] for weight in live]
    used = _go_on(plan, live, means)
    watch, total, step, logged_step = Stopwatch(used), used + plan.seconds, 0, 0
    logged = saved = used
    while watch.seconds() < total:
        share = watch.seconds() / total
        rate = _rate(step, share, plan.peak_rate)
        for group in optimiser.param_groups:
            group["lr"] = rate
        loss, _ = losses(_batch(stock, rng, plan.divisor, share))
        norm = nn.utils.clip_grad_norm_(live, CLIP_NORM)
        # The fused optimiser skips a step whose gradients are not finite.
        setattr(optimiser, "found_inf", (~norm.isfinite()).float())  # noqa: B010 - undeclared
        optimiser.step()
        step += 1
        with torch.no_grad():
            torch._foreach_lerp_(means, live, 1.0 - min(AVERAGE_DECAY, step / (step + 10.0)))
        now = watch.seconds()
        if now - logged > _LOG_EVERY_S:
            speed = (step - logged_step) / (now - logged)
            shown = f"loss {float(loss):.4f} rate {rate:.1e}"
            print(f"vae {now:6.1f} s step {step} {speed:.1f}/s {shown}", flush=True)
            logged, logged_step = now, step
        if now - saved > _SAVE_EVERY_S:
            _keep(plan, live, means, now)
            saved = now
    return step


def _go_on(plan: VaePlan, live: list[Tensor], means: list[Tensor]) -> float:
    """Load what a run before this had reached; return the seconds it had used."""
    if plan.progress is None or not is_saved(plan.progress):
        return 0.0
    saved, facts = load_parts(plan.progress)
    restore("live", live, saved)
    restore("mean", means, saved)
    print(f"vae goes on after {facts['used']} s", flush=True)
    return float(facts["used"])


def _keep(plan: VaePlan, live: list[Tensor], means: list[Tensor], used: float) -> None:
    if plan.progress is not None:
        tensors = {**indexed("live", live), **indexed("mean", means)}
        save_parts(plan.progress, tensors, {"used": f"{used:.1f}"})


@torch.no_grad()
def initialise(vae: WanVae) -> None:
    """Start so that signals pass: convolutions keep variance, residual branches start small.

    Causal layers begin with their last time tap alone: the taps before it see padding in the first
    frame, so a picture and a clip start out alike. Halving time sees real frames in every tap.
    """
    for module in vae.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    halving = {id(part.time_conv) for part in vae.modules() if _halves_time(part)}
    for module in vae.modules():
        if isinstance(module, WanCausalConv3d) and id(module) not in halving:
            taps = module.kernel_size[0]
            module.weight[:, :, -1] *= math.sqrt(taps)
            module.weight[:, :, :-1] *= QUIET_GAIN
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            module.conv2.weight *= RESIDUAL_GAIN
    last = vae.quant_conv
    last.weight[LATENT_CHANNELS:] *= QUIET_GAIN
    last.bias[LATENT_CHANNELS:] = FIRST_LOG_VARIANCE


def _halves_time(part: nn.Module) -> bool:
    return isinstance(part, WanResample) and part.mode == "downsample3d"


def encode_mode(vae: WanVae, video: Tensor) -> Tensor:
    """Return the normalised most likely latents ``[B, 16, T', h, w]`` of ``[B, 3, T, H, W]``."""
    with torch.autocast(video.device.type, torch.bfloat16, enabled=video.is_cuda):
        latents = whole_moments(vae, video)[:, :LATENT_CHANNELS].float().contiguous()
    mean, std = statistics_of(vae, video.device)
    return (latents - mean) / std


def decode_latents(vae: WanVae, latents: Tensor) -> Tensor:
    """Return the video ``[B, 3, T, H, W]`` in [-1, 1] of normalised latents."""
    mean, std = statistics_of(vae, latents.device)
    with torch.autocast(latents.device.type, torch.bfloat16, enabled=latents.is_cuda):
        video = whole_pictures(vae, latents.float() * std + mean)
    return video.float().clamp(-1.0, 1.0).contiguous()


def statistics_of(vae: WanVae, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the latents' mean and standard deviation, ``[1, 16, 1, 1, 1]`` each."""
    shape = (1, LATENT_CHANNELS, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean, device=device).view(shape)
    return mean, torch.tensor(vae.config.latents_std, device=device).view(shape)


@torch.no_grad()
def set_statistics(vae: WanVae, source: ClipSource, device: torch.device, divisor: int) -> None:
    """Measure the latents' mean and deviation per channel and write them into the config."""
    batch = max(_STATISTICS_BATCH // divisor, 2)
    rounds = max(_STATISTICS_CLIPS // divisor // batch, 1)
    vae.register_to_config(
        latents_mean=[0.0] * LATENT_CHANNELS, latents_std=[1.0] * LATENT_CHANNELS
    )
    order = Order(count=batch, bucket=BUCKETS[0], frames=FRAMES, purpose=Purpose.TEXT)
    latents = torch.cat([encode_mode(vae, source.draw(order).video) for _ in range(rounds)])
    mean = latents.mean(dim=(0, 2, 3, 4)).tolist()
    std = latents.std(dim=(0, 2, 3, 4)).clamp_min(1e-4).tolist()
    vae.register_to_config(latents_mean=mean, latents_std=std)
    del device


@torch.no_grad()
def clip_psnr(vae: WanVae, source: ClipSource, plan: VaePlan) -> str:
    """Return the PSNR in dB of decoded clips and of single frames, as text for the log."""
    figures = []
    for frames in (FRAMES, 1):
        count = max(_STATISTICS_BATCH // plan.divisor, 2)
        order = Order(count=count, bucket=BUCKETS[0], frames=frames, purpose=Purpose.PINNED)
        video = source.draw(order).video
        shown = decode_latents(vae, encode_mode(vae, video))
        errors = ((shown - video) / 2.0).square().mean(dim=(1, 2, 3, 4))
        psnr = -10.0 * torch.log10(errors.clamp_min(1e-10))
        figures.append(f"T={frames}: mean {float(psnr.mean()):.1f} min {float(psnr.min()):.1f} dB")
    return ", ".join(figures)


def save_vae(vae: WanVae, path: Path) -> None:
    """Write the fp32 weights and, as two more tensors, the latent statistics."""
    state = {name: value.contiguous().cpu() for name, value in vae.state_dict().items()}
    state["latents_mean"] = torch.tensor(vae.config.latents_mean)
    state["latents_std"] = torch.tensor(vae.config.latents_std)
    partial = path.with_suffix(".partial")
    save_file(state, partial)
    partial.replace(path)


def restore_vae(vae: WanVae, path: Path) -> WanVae:
    """Load what `save_vae` wrote."""
    state = load_file(path)
    mean, std = state.pop("latents_mean").tolist(), state.pop("latents_std").tolist()
    vae.load_state_dict(state)
    vae.register_to_config(latents_mean=mean, latents_std=std)
    return vae.eval().requires_grad_(requires_grad=False)


def use_variant_of(vae: WanVae, source: ClipSource, device: torch.device) -> Variant:
    """Use the fastest kernels for this VAE on a GPU, the stock ones elsewhere; return which."""
    if device.type != "cuda":
        apply_variant(vae, Variant.STOCK)
        return Variant.STOCK
    order = Order(
        count=_PROBE_CLIPS, bucket=BUCKETS[0], frames=_PROBE_FRAMES, purpose=Purpose.PINNED
    )
    weights = [weight for weight in vae.parameters() if weight.requires_grad]
    work = _loss_of(vae, device)
    return choose_variant(vae, work, source.film(order), weights, torch.cuda.synchronize)


def _rate(step: int, share: float, peak: float) -> float:
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * (FINAL_RATE + (peak - FINAL_RATE) * (1 + math.cos(math.pi * share)) / 2)


def _batch(stock: ClipStock, rng: np.random.Generator, divisor: int, share: float) -> Tensor:
    late = min(share / _CLIPS_FROM, 1.0)
    chances = [first + (last - first) * late for _, first, last, _ in _LENGTHS]
    frames, _, _, count = _LENGTHS[int(rng.choice(len(_LENGTHS), p=chances))]
    bucket = BUCKETS[0] if rng.random() < _SQUARE_SHARE else BUCKETS[int(rng.integers(1, 3))]
    video = stock.draw(bucket, frames, max(count // divisor, 2))
    if frames < FRAMES:
        return video
    controls = int(len(video) * _CONTROL_SHARE) + 1
    first, last = video[:controls, :, 0], video[:controls, :, -1]
    mode = (Mode.START, Mode.END, Mode.BOTH)[int(rng.integers(3))]
    video[:controls] = control_video(mode, frames, first, last)
    return video


def _loss_of(vae: WanVae, device: torch.device) -> Callable[[Tensor], Tensor]:
    cuda = device.type == "cuda"

    def loss(video: Tensor) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16, enabled=cuda, cache_enabled=False):
            mean, logvar = whole_moments(vae, video).float().chunk(2, dim=1)
            logvar = logvar.clamp(-_LOGVAR_RANGE, _LOGVAR_RANGE)
            noise = torch.randn_like(mean) * torch.exp(0.5 * logvar)
            shown = whole_pictures(vae, mean + noise).float()
        kl = 0.5 * (mean.square() + logvar.exp() - 1.0 - logvar).mean()
        return _picture_loss(shown, video) + KL_WEIGHT * kl

    return loss


def _picture_loss(shown: Tensor, video: Tensor) -> Tensor:
    error = shown - video
    across = (error[..., 1:] - error[..., :-1]).abs().mean()
    down = (error[..., 1:, :] - error[..., :-1, :]).abs().mean()
    loss = error.abs().mean() + SQUARE_WEIGHT * error.square().mean()
    coarse = functional.avg_pool3d(error, (1, 4, 4)).abs().mean()
    return loss + EDGE_WEIGHT * (across + down) + coarse
