"""The denoise loop of Wan: flow matching, one clip, with or without references."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler
from torch import Tensor

from ourvidz_worker.engines.device import Foreign, foreign_errors
from ourvidz_worker.engines.tensors import check_finite
from ourvidz_worker.engines.wan_conditioning import Control

SOLVERS = {"dpm++": DPMSolverMultistepScheduler, "unipc": UniPCMultistepScheduler}
"""The solvers of the contract (3.5), both of second order on flow sigmas."""

See = Callable[[], Tensor]
"""Gives the clean latents `[C, T', h, w]` that a step points to."""

Watch = Callable[[int, int, See], None]
"""Called after each step with its number, how many there are, and a way to see the clip."""


def make_scheduler(solver: str, shift: float) -> Foreign:
    """A scheduler of one attempt's own; `shift` bends sigma to `s x / (1 + (s - 1) x)`."""
    with foreign_errors():
        return SOLVERS[solver](
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=shift
        )


@dataclass(frozen=True, kw_only=True)
class ClipDenoiser:
    """Draws one clip; `negative` is None where guidance makes one pass.

    `control` needs a VACE transformer; without it the transformer is a plain one.
    """

    transformer: Foreign
    prompt: Tensor
    negative: Tensor | None
    guidance: float
    solver: str
    shift: float
    steps: int
    control: Control | None = None

    def draw(self, noise: Tensor, watch: Watch) -> Tensor:
        """Clean latents `[1, C, T', h, w]` from noise `[1, C, T' + R, h, w]`.

        Raises `AttemptError` for values out of range.
        """
        scheduler = make_scheduler(self.solver, self.shift)
        scheduler.set_timesteps(self.steps, device=noise.device)
        scheduler.set_begin_index(0)
        latents, total = noise, len(scheduler.timesteps)
        for index, timestep in enumerate(scheduler.timesteps):
            predicted = self._predict(latents, timestep)
            sigma, left = (float(scheduler.sigmas[i]) for i in (index, index + 1))
            see = partial(self._clean, latents, predicted, sigma)
            latents = scheduler.step(predicted, timestep, latents, return_dict=False)[0]
            latents = self._pin(latents, noise, left)
            watch(index + 1, total, see)
        check_finite(latents)
        return self._without_references(latents)

    def _predict(self, latents: Tensor, timestep: Tensor) -> Tensor:
        with_prompt = self._forward(latents, timestep, self.prompt)
        if self.negative is None:
            return with_prompt
        without = self._forward(latents, timestep, self.negative)
        return without + self.guidance * (with_prompt - without)

    def _forward(self, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
        dtype = text.dtype
        hints: dict[str, Tensor] = {}
        if self.control is not None:
            layers = len(self.transformer.config.vace_layers)
            scale = torch.full((layers,), self.control.scale, dtype=dtype, device=latents.device)
            hints = {
                "control_hidden_states": self.control.hints.to(dtype),
                "control_hidden_states_scale": scale,
            }
        predicted: Tensor = self.transformer(
            hidden_states=latents.to(dtype),
            timestep=timestep.expand(1),
            encoder_hidden_states=text,
            return_dict=False,
            **hints,
        )[0]
        return predicted.float()

    def _pin(self, latents: Tensor, noise: Tensor, sigma: float) -> Tensor:
        """Hold pinned frames on their own straight way from noise to the picture."""
        if self.control is None or sigma < self.control.pin_above:
            return latents
        latents = latents.clone() if self.control.pinned else latents
        for frame, clean in self.control.pinned.items():
            kept = (1 - sigma) * clean + sigma * noise[:, :, frame : frame + 1]
            latents[:, :, frame : frame + 1] = kept
        return latents

    def _clean(self, latents: Tensor, predicted: Tensor, sigma: float) -> Tensor:
        return self._without_references(latents - sigma * predicted)[0]

    def _without_references(self, latents: Tensor) -> Tensor:
        return latents if self.control is None else latents[:, :, self.control.references :]


@contextmanager
def asked_at_blocks(transformer: Foreign, ask: Callable[[], None]) -> Iterator[None]:
    """Ask before every block: a whole step of a long clip takes seconds, a block milliseconds."""
    blocks = [*transformer.blocks, *getattr(transformer, "vace_blocks", ())]
    hooks = [block.register_forward_pre_hook(partial(_ask, ask)) for block in blocks]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _ask(ask: Callable[[], None], _module: object, _inputs: object) -> None:
    ask()
