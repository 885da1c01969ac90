"""The denoise loop of SDXL: from noise, or from a noised reference, to clean latents."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ourvidz_worker.engines.device import Foreign
from ourvidz_worker.engines.sdxl_schedule import (
    Choice,
    make_scheduler,
    set_grid,
    set_own_grid,
)
from ourvidz_worker.engines.sdxl_text import Embedding
from ourvidz_worker.engines.tensors import check_finite, draw_noise, seeded

See = Callable[[], Tensor]
"""Gives the clean latents that a step points to."""

Watch = Callable[[int, int, See | None], None]
"""Called after each step with its number, how many there are, and a way to see the picture."""

_SIGNAL_KEEPING = ("DPMSolver", "UniPC", "DEIS")
"""Solvers whose latents are `alpha x + alpha sigma e`, not `x + sigma e`."""


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the UNet is told besides the latents, one row, or two: without and with the prompt."""

    hidden: Tensor
    pooled: Tensor
    time_ids: Tensor
    guidance: float

    @property
    def rows(self) -> int:
        """How many rows one step computes."""
        return self.hidden.shape[0]


def condition(
    prompt: Embedding, negative: Embedding | None, size: tuple[int, int], guidance: float
) -> Conditioning:
    """Join the embeddings; `size` is width and height, told as original and target size."""
    width, height = size
    parts = [prompt] if negative is None else [negative, prompt]
    time_ids = torch.tensor([[height, width, 0, 0, height, width]], dtype=prompt.hidden.dtype)
    return Conditioning(
        hidden=torch.cat([part.hidden for part in parts]),
        pooled=torch.cat([part.pooled for part in parts]),
        time_ids=time_ids.repeat(len(parts), 1).to(prompt.hidden.device),
        guidance=guidance,
    )


@dataclass(frozen=True, kw_only=True)
class Denoiser:
    """Draws single pictures with one UNet, one solver and one conditioning.

    `timesteps` is the grid of image-to-image; without it the solver makes its own of `steps`.
    """

    unet: Foreign
    schedule: dict[str, Any]
    choice: Choice
    conditioning: Conditioning
    steps: int
    timesteps: tuple[int, ...] = ()

    def draw(self, shape: tuple[int, ...], seed: int, start: Tensor | None, watch: Watch) -> Tensor:
        """Clean latents of `shape` for one seed, from noise, or from the latents `start`.

        The scheduler and the generator belong to this picture alone, and pictures are drawn one
        after another: a picture of a batch has the bits it has alone. Raises `AttemptError` for
        values out of range.
        """
        generator = seeded(seed)
        scheduler = make_scheduler(self.schedule, self.choice)
        device = self.conditioning.hidden.device
        noise = draw_noise(shape, generator, device)
        if start is None:
            set_own_grid(scheduler, self.steps, device)
            latents: Tensor = noise * scheduler.init_noise_sigma
        else:
            set_grid(scheduler, self.choice.solver, list(self.timesteps), device)
            latents = scheduler.add_noise(start, noise, scheduler.timesteps[:1])
        total = len(scheduler.timesteps)
        extra = _generator_argument(scheduler, generator)
        for index, timestep in enumerate(scheduler.timesteps):
            predicted = self._predict(scheduler, latents, timestep)
            see = partial(estimate_clean, scheduler, index, latents, predicted)
            seen = see if hasattr(scheduler, "sigmas") else None
            latents = scheduler.step(predicted, timestep, latents, **extra, return_dict=False)[0]
            watch(index + 1, total, seen)
        check_finite(latents)
        return latents

    def _predict(self, scheduler: Foreign, latents: Tensor, timestep: Tensor) -> Tensor:
        told = self.conditioning
        rows = torch.cat([latents] * told.rows)
        scaled = scheduler.scale_model_input(rows, timestep).to(told.hidden.dtype)
        added = {"text_embeds": told.pooled, "time_ids": told.time_ids}
        predicted: Tensor = self.unet(
            scaled,
            timestep,
            encoder_hidden_states=told.hidden,
            added_cond_kwargs=added,
            return_dict=False,
        )[0].float()
        if told.rows == 1:
            return predicted
        without, with_prompt = predicted.chunk(2)
        return without + told.guidance * (with_prompt - without)


def estimate_clean(
    scheduler: Foreign,
    index: int,
    latents: Tensor,
    predicted: Tensor,
) -> Tensor:
    """The clean latents that a prediction at step `index` points to."""
    sigma = float(scheduler.sigmas[index])
    share = 1 / math.sqrt(1 + sigma * sigma)
    if not type(scheduler).__name__.startswith(_SIGNAL_KEEPING):
        latents = latents * share
    if scheduler.config.prediction_type == "v_prediction":
        return share * latents - share * sigma * predicted
    return (latents - share * sigma * predicted) / share


def _generator_argument(scheduler: Foreign, generator: torch.Generator) -> dict[str, Any]:
    accepts = "generator" in inspect.signature(scheduler.step).parameters
    return {"generator": generator} if accepts else {}
