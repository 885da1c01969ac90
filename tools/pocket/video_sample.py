"""Sampling from the video models as an engine would, many clips at once, and contact sheets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DPMSolverMultistepScheduler, UniPCMultistepScheduler
from PIL import Image, ImageDraw
from torch import Tensor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from tools.pocket.video_conditioning import (
    HAS_REFERENCE,
    LATENT_CHANNELS,
    SPATIAL_FACTOR,
    Mode,
    assemble_control,
    control_video,
    latent_frames,
    mode_mask,
)
from tools.pocket.video_flow import Models
from tools.pocket.video_models import encode_text
from tools.pocket.video_tokenizer import tokenise
from tools.pocket.video_types import WanVae
from tools.pocket.video_vae import decode_latents, encode_mode

FLOW_SHIFT = 5.0
SHEET_FRAMES = (0, 4, 8, 12, 16)
_LABEL_PX = 12
_MID_BYTE = 127.5
_PAD_STEP = 64
_SHEET_COLOURS = 256


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What to sample: one prompt per clip; ``first``/``last``/``subject`` are ``[B, 3, H, W]``."""

    prompts: list[str]
    bucket: tuple[int, int]
    frames: int = 17
    mode: Mode = Mode.NONE
    steps: int = 25
    guidance: float = 6.5
    solver: str = "dpm++"
    seed: int = 0
    padded: int = 64
    picture: Tensor | None = None
    last: Tensor | None = None


@dataclass(frozen=True, kw_only=True)
class Studio:
    """The parts that sampling needs."""

    models: Models
    vae: WanVae
    tokenizer: PreTrainedTokenizerBase
    device: torch.device


def make_scheduler(solver: str, shift: float = FLOW_SHIFT) -> Any:  # noqa: ANN401 - two classes
    """Return the scheduler of ``dpm++`` or ``unipc`` on flow sigmas."""
    common: dict[str, Any] = {
        "prediction_type": "flow_prediction",
        "use_flow_sigmas": True,
        "flow_shift": shift,
        "num_train_timesteps": 1000,
    }
    if solver == "unipc":
        return UniPCMultistepScheduler(**common)  # type: ignore[no-untyped-call]  # diffusers has no types
    make: Any = DPMSolverMultistepScheduler
    return make(algorithm_type="dpmsolver++", **common)


@torch.no_grad()
def sample(studio: Studio, wish: Wish) -> Tensor:
    """Return clips ``[B, 3, T, H, W]`` in [-1, 1]; each row's noise follows from seed + row."""
    width, height = wish.bucket
    references = 1 if wish.mode in HAS_REFERENCE else 0
    size = (
        LATENT_CHANNELS,
        latent_frames(wish.frames) + references,
        height // SPATIAL_FACTOR,
        width // SPATIAL_FACTOR,
    )
    rows = [
        torch.randn(size, generator=torch.Generator().manual_seed(wish.seed + row))
        for row in range(len(wish.prompts))
    ]
    latents = torch.stack(rows).to(studio.device)
    words = embed(studio, wish.prompts, wish.padded)
    nothing = embed(studio, [""], wish.padded).expand(len(wish.prompts), -1, -1)
    control = None if wish.mode is Mode.NONE else control_of(studio, wish)
    scheduler = make_scheduler(wish.solver)
    scheduler.set_timesteps(wish.steps, device=studio.device)
    for time in scheduler.timesteps:
        flow = _flow(studio, latents, time, words, control)
        if wish.guidance > 1.0:
            free = _flow(studio, latents, time, nothing, control)
            flow = free + wish.guidance * (flow - free)
        latents = scheduler.step(flow, time, latents, return_dict=False)[0]
    return decode_latents(studio.vae, latents[:, :, references:])


def embed(studio: Studio, prompts: list[str], padded: int) -> Tensor:
    """Return the prompts' embeddings ``[B, padded, 128]``, zero beyond each prompt's length."""
    tokens, lengths = tokenise(studio.tokenizer, prompts, padded + 1)
    used = min(-(-int(lengths.max()) // _PAD_STEP) * _PAD_STEP, padded)
    device = studio.device
    words = encode_text(studio.models.text_encoder, tokens[:, :used].to(device), lengths.to(device))
    rest = words.new_zeros(len(prompts), padded - used, words.shape[2])
    return torch.cat([words, rest], dim=1)


def control_of(studio: Studio, wish: Wish) -> Tensor:
    """Return the control tensor ``[B, 96, T' + R, h, w]`` of a wish with reference pictures."""
    picture = wish.picture if wish.picture is not None else wish.last
    if picture is None:
        raise ValueError(f"mode {wish.mode.value} needs a picture")
    last = wish.last if wish.last is not None else picture
    video = control_video(wish.mode, wish.frames, picture, last)
    mask = mode_mask(wish.mode, wish.frames, wish.bucket[1], wish.bucket[0]).to(video.device)
    reference = None
    if wish.mode in HAS_REFERENCE:
        reference = encode_mode(studio.vae, picture[:, :, None])
    return assemble_control(
        encode_mode(studio.vae, video),
        encode_mode(studio.vae, torch.zeros_like(video)),
        mask.expand(len(video), -1, -1, -1, -1),
        reference,
    )


def _flow(
    studio: Studio, latents: Tensor, time: Tensor, words: Tensor, control: Tensor | None
) -> Tensor:
    times = time.to(latents.dtype).expand(len(latents))
    if control is None:
        flow = studio.models.plain(latents, times, words, return_dict=False)[0]
    else:
        flow = studio.models.transformer(
            latents, times, words, control_hidden_states=control, return_dict=False
        )[0]
    predicted: Tensor = flow.float()
    return predicted


def clip_strip(clip: Tensor, frames: tuple[int, ...] = SHEET_FRAMES) -> np.ndarray:
    """Return some frames of a clip ``[3, T, H, W]`` side by side, uint8 ``[H, n W, 3]``."""
    chosen = [clip[:, min(frame, clip.shape[1] - 1)] for frame in frames]
    strip = torch.cat(chosen, dim=2).clamp(-1.0, 1.0).add(1.0).mul(_MID_BYTE).round()
    return strip.permute(1, 2, 0).byte().cpu().numpy()


def contact_sheet(strips: list[np.ndarray], labels: list[str], columns: int = 2) -> Image.Image:
    """Return labelled strips arranged in columns."""
    wide = max(strip.shape[1] for strip in strips)
    high = max(strip.shape[0] for strip in strips) + _LABEL_PX
    rows = -(-len(strips) // columns)
    sheet = Image.new("RGB", (wide * columns, high * rows), (255, 255, 255))
    pen = ImageDraw.Draw(sheet)
    for index, (strip, label) in enumerate(zip(strips, labels, strict=True)):
        left, top = (index % columns) * wide, (index // columns) * high
        pen.text((left + 2, top), label, fill=(0, 0, 0))
        sheet.paste(Image.fromarray(strip), (left, top + _LABEL_PX))
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write a sheet as PNG, replacing an older one at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    sheet.quantize(_SHEET_COLOURS).save(partial, format="PNG")
    partial.replace(path)
