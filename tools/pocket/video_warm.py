"""Compiling the transformer in a process of its own while the VAE trains.

The compiler's cache on disk then knows the kernels, and compiling again in the training process
costs seconds. Where the helper has not finished in time, training compiles the rest itself.
"""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import torch

from tools.pocket.video_conditioning import (
    CONTROL_CHANNELS,
    LATENT_CHANNELS,
    SPATIAL_FACTOR,
    latent_frames,
)
from tools.pocket.video_data import BUCKETS, FRAMES
from tools.pocket.video_flow import FlowPlan, FlowTrainer, Models
from tools.pocket.video_models import TEXT_TOKENS, Sizes, build_text_encoder, build_transformer
from tools.pocket.video_pool import Batch, Kind

_LENGTH, _LOWEST_TOKEN = 9, 3
_WAIT_S = 3.0


class RandomPool:
    """Gives batches of noise in the shapes of the real pool."""

    def __init__(self, vocabulary: int, device: torch.device) -> None:
        self._vocabulary, self._device = vocabulary, device

    def batch(
        self, kind: Kind, *, reference: bool, count: int, bucket: tuple[int, int] | None = None
    ) -> Batch:
        """Return noise of this kind, of the first or the given bucket."""
        width, height = bucket or BUCKETS[0]
        frames = latent_frames(1 if kind is Kind.STILL else FRAMES) + int(reference)
        shape = (frames, height // SPATIAL_FACTOR, width // SPATIAL_FACTOR)
        steered = reference or kind is Kind.PINNED
        device = self._device
        control = torch.randn(count, CONTROL_CHANNELS, *shape, device=device) if steered else None
        size = (count, TEXT_TOKENS)
        return Batch(
            latents=torch.randn(count, LATENT_CHANNELS, *shape, device=device),
            tokens=torch.randint(_LOWEST_TOKEN, self._vocabulary, size, device=device),
            lengths=torch.full((count,), _LENGTH, device=device),
            control=control,
        )

    def renew_some(self) -> int:
        """Do nothing: noise needs no renewal."""
        return 0


class Warmer:
    """The helper process; its marker file says that it came to its end."""

    def __init__(self, sizes: Sizes, vocabulary: int, plan: FlowPlan, marker: Path) -> None:
        self._marker = marker
        marker.unlink(missing_ok=True)
        context = multiprocessing.get_context("spawn")
        self._process = context.Process(target=_warm, args=(sizes, vocabulary, plan, marker))
        self._process.start()

    def finish(self) -> bool:
        """End the helper; return whether the compiler's cache is warm."""
        done = self._marker.exists()
        self._process.join(_WAIT_S if done else 0.0)
        if self._process.is_alive():
            self._process.terminate()
        return done


def _warm(sizes: Sizes, vocabulary: int, plan: FlowPlan, marker: Path) -> None:
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    models = Models(
        transformer=build_transformer(sizes).to(plan.device),
        text_encoder=build_text_encoder(sizes, vocabulary).to(plan.device),
    )
    trainer = FlowTrainer(models, RandomPool(vocabulary, plan.device), plan)
    if trainer.compiled:
        marker.touch()
