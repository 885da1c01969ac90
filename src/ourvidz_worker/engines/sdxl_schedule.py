"""Which solver draws an SDXL picture, and at which timesteps.

Text-to-image runs the solver's own grid. Image-to-image runs a grid of ours, because the
libraries' starting point depends on the solver and fails below one step (contract I-1).
"""

import inspect
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_deis_multistep import DEISMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import (
    EulerAncestralDiscreteScheduler,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_heun_discrete import HeunDiscreteScheduler
from diffusers.schedulers.scheduling_k_dpm_2_discrete import KDPM2DiscreteScheduler
from diffusers.schedulers.scheduling_lms_discrete import LMSDiscreteScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from diffusers.schedulers.scheduling_unipc_multistep import UniPCMultistepScheduler

from ourvidz_worker.domain.errors import ModelLoadFailed, RequestError
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.engines.device import Foreign, foreign_errors

TRAIN_STEPS = 1000
"""SDXL's timesteps run from 0 to 999."""

SUBSTITUTE = "euler"
"""What draws image-to-image where the checkpoint's own solver cannot."""

_SPACINGS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_lu_lambdas")
"""Settings that move the grid; a solver refuses a grid of ours while one of them is on."""

_PLAIN_GRID: dict[str, object] = dict.fromkeys(_SPACINGS, False) | {"timestep_type": "discrete"}


@dataclass(frozen=True, kw_only=True)
class Solver:
    """One solver family; `planned` tells how it takes a grid of ours: None when it cannot."""

    kind: Foreign
    options: dict[str, object] = field(default_factory=dict)
    planned: str | None = None


_KARRAS: dict[str, object] = {"use_karras_sigmas": True}
_MULTISTEP: dict[str, object] = {"algorithm_type": "dpmsolver++", "solver_order": 2}

SOLVERS = {
    "euler": Solver(kind=EulerDiscreteScheduler, planned="given"),
    "euler_a": Solver(kind=EulerAncestralDiscreteScheduler, planned="written"),
    "dpm++": Solver(kind=DPMSolverMultistepScheduler, options=_MULTISTEP, planned="given"),
    "dpm++_karras": Solver(
        kind=DPMSolverMultistepScheduler, options=_MULTISTEP | _KARRAS, planned="given"
    ),
    "dpm++_single": Solver(
        kind=DPMSolverSinglestepScheduler,
        options=_MULTISTEP | {"final_sigmas_type": "zero", "lower_order_final": True},
        planned="given",
    ),
    "unipc": Solver(kind=UniPCMultistepScheduler, planned="written"),
    "heun": Solver(kind=HeunDiscreteScheduler, planned="given"),
}
"""What a request may name as its scheduler."""

_OWN_ONLY = {
    "ddim": Solver(kind=DDIMScheduler),
    "pndm": Solver(kind=PNDMScheduler),
    "lms": Solver(kind=LMSDiscreteScheduler),
    "kdpm2": Solver(kind=KDPM2DiscreteScheduler),
    "deis": Solver(kind=DEISMultistepScheduler),
}
"""What a checkpoint may bring, for text-to-image alone: on a grid of ours KDPM2 and DEIS give
garbage, DDIM and PNDM step by their own arithmetic."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The solver of one request, and how it differs from what was to be expected."""

    name: str
    solver: Solver
    options: dict[str, object]
    differences: tuple[Difference, ...] = ()


def check_own(config: dict[str, Any]) -> str:
    """The name of the checkpoint's own solver. Raises `ModelLoadFailed` for an unknown one."""
    wanted = config.get("_class_name")
    # Of several names for one class the first is the plain one.
    for name, solver in (SOLVERS | _OWN_ONLY).items():
        if solver.kind.__name__ == wanted:
            return name
    raise ModelLoadFailed("The model's scheduler is of a kind this engine does not know.")


def choose(config: dict[str, Any], asked: str | None, *, planned: bool) -> Choice:
    """The solver for a request; `planned` when it must take a grid of ours (image-to-image).

    Raises `RequestError` for a name that is not listed.
    """
    own = check_own(config)
    name = own if asked is None else asked.lower()
    if asked is not None and name not in SOLVERS:
        raise RequestError(
            f"The scheduler must be one of {', '.join(SOLVERS)}.", field="config.scheduler"
        )
    solver = (SOLVERS | _OWN_ONLY)[name]
    # A solver that is asked for by name is plain, whatever spacing the checkpoint's own one has.
    options = {} if asked is None else dict.fromkeys(_SPACINGS, False) | solver.options
    if not planned:
        return Choice(name=name, solver=solver, options=options)
    if solver.planned is None:
        row = _difference(f"{name} (the model's own)", SUBSTITUTE, "it takes no fixed start")
        return Choice(
            name=SUBSTITUTE, solver=SOLVERS[SUBSTITUTE], options=_PLAIN_GRID, differences=(row,)
        )
    plain = name.removesuffix("_karras")
    spaced = [flag for flag in _SPACINGS if (config | options).get(flag)]
    rows = [
        _difference(f"{name} with {flag}", plain, "the start follows the strength alone")
        for flag in spaced
    ]
    return Choice(name=plain, solver=solver, options=options | _PLAIN_GRID, differences=tuple(rows))


def make_scheduler(config: dict[str, Any], choice: Choice) -> Foreign:
    """A scheduler of one attempt's own: never shared between two."""
    kind = choice.solver.kind
    known = inspect.signature(kind.__init__).parameters
    options = {key: value for key, value in (config | choice.options).items() if key in known}
    with foreign_errors(ModelLoadFailed):
        return kind(**options)


def executed_steps(steps: int, strength: float) -> tuple[int, int]:
    """`(steps, executed)` of image-to-image: at least one step runs above strength 0 (I-1).

    The product is taken in floating point, as the contract counts it.
    """
    if strength <= 0:
        return steps, 0
    if int(steps * strength) >= 1:
        return steps, int(steps * strength)
    raised = max(1, math.floor(1 / strength) - 1)
    while int(raised * strength) < 1:
        raised += 1
    return raised, 1


def grid(executed: int, strength: float, *, copy: bool) -> list[int]:
    """`executed` falling timesteps of at least 1, whose first follows the strength alone.

    Copying starts as low as there are timesteps: `executed`, `executed` - 1, ... 1.
    """
    first = executed if copy else max(1, round(TRAIN_STEPS * strength) - 1)
    return [round(t) for t in np.linspace(first, 0, executed + 1)[:-1]]


def set_own_grid(scheduler: Foreign, steps: int, device: torch.device) -> None:
    """Let the solver choose its timesteps."""
    scheduler.set_timesteps(steps, device=device)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)


def set_grid(
    scheduler: Foreign,
    solver: Solver,
    timesteps: list[int],
    device: torch.device,
) -> None:
    """Give the solver our timesteps."""
    if solver.planned == "given":
        scheduler.set_timesteps(timesteps=timesteps, device=device)
    else:
        scheduler.set_timesteps(len(timesteps), device=device)
        # Euler ancestral and UniPC compare timesteps as floats; integers raise.
        scheduler.timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)
        sigmas = [sigma_at(scheduler, t) for t in timesteps]
        scheduler.sigmas = torch.tensor([*sigmas, 0.0], dtype=torch.float32)
    scheduler.set_begin_index(0)


def sigma_at(scheduler: Foreign, timestep: int) -> float:
    """Noise per signal at a timestep: `sqrt((1 - abar) / abar)`."""
    share = float(scheduler.alphas_cumprod[timestep])
    return math.sqrt((1 - share) / share)


def _difference(requested: str, effective: str, reason: str) -> Difference:
    return Difference(
        parameter="scheduler", requested=requested, effective=effective, reason=reason
    )
