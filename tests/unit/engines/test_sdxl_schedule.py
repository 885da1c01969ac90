"""Image-to-image timesteps: the count is the contract's, the start the strength's alone."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engines.engine_bench import Loose

from ourvidz_worker.domain.errors import ModelLoadFailed, RequestError
from ourvidz_worker.engines.sdxl_base import SCHEDULER, V_PREDICTION, ZERO_TERMINAL_SNR
from ourvidz_worker.engines.sdxl_denoise import estimate_clean
from ourvidz_worker.engines.sdxl_schedule import (
    SOLVERS,
    SUBSTITUTE,
    check_own,
    choose,
    executed_steps,
    grid,
    make_scheduler,
    set_grid,
    set_own_grid,
    sigma_at,
)

CPU = torch.device("cpu")
STEPS = st.integers(1, 100)
STRENGTHS = st.integers(1, 1000).map(lambda thousandths: thousandths / 1000)
KINDS = {
    "epsilon": SCHEDULER,
    "v_prediction": SCHEDULER | V_PREDICTION,
    "zero_snr": SCHEDULER | V_PREDICTION | ZERO_TERMINAL_SNR,
}


@pytest.mark.parametrize(
    ("steps", "strength", "expected"),
    [
        (25, 0.05, (25, 1)),
        (15, 0.05, (20, 1)),
        (15, 0.06, (17, 1)),
        (50, 0.58, (50, 28)),
        (100, 0.29, (100, 28)),
        (6, 0.05, (20, 1)),
        (1, 1.0, (1, 1)),
        (1, 0.001, (1000, 1)),
        (30, 0.0, (30, 0)),
    ],
)
def test_steps_follow_the_float_product(
    steps: int, strength: float, expected: tuple[int, int]
) -> None:
    assert executed_steps(steps, strength) == expected


@given(STEPS, STRENGTHS)
def test_at_least_one_step_runs_and_no_more_than_needed_are_added(
    steps: int, strength: float
) -> None:
    raised, executed = executed_steps(steps, strength)
    assert executed == int(raised * strength) >= 1
    if raised != steps:
        assert int(steps * strength) == 0
        assert int((raised - 1) * strength) == 0
        assert executed == 1


@given(STEPS, STRENGTHS)
def test_timesteps_are_distinct_falling_and_at_least_one(steps: int, strength: float) -> None:
    _, executed = executed_steps(steps, strength)
    for copy in (False, True):
        timesteps = grid(executed, strength, copy=copy)
        assert len(timesteps) == executed
        assert all(earlier > later for earlier, later in pairwise(timesteps))
        assert 1 <= timesteps[-1] <= timesteps[0] <= 999


def test_the_start_rises_with_strength_whatever_the_steps() -> None:
    scheduler = make_scheduler(SCHEDULER, choose(SCHEDULER, "euler", planned=True))
    starts = [grid(5, strength / 100, copy=False)[0] for strength in range(5, 101)]
    assert all(earlier < later for earlier, later in pairwise(starts))
    assert starts == [grid(9, strength / 100, copy=False)[0] for strength in range(5, 101)]
    sigmas = {t: round(sigma_at(scheduler, t), 3) for t in (1, 49, 199, 499)}
    assert sigmas == {1: 0.041, 49: 0.223, 199: 0.569, 499: 1.613}
    assert grid(1, 0.05, copy=True) == [1]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("executed", [1, 2, 5, 20])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_perfect_denoiser_gives_the_reference_back(name: str, executed: int, kind: str) -> None:
    config = KINDS[kind]
    choice = choose(config, name, planned=True)
    scheduler = make_scheduler(config, choice)
    clean = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(2))
    timesteps = grid(executed, 0.7, copy=False)
    set_grid(scheduler, choice.solver, timesteps, CPU)
    latents = scheduler.add_noise(clean, noise, scheduler.timesteps[:1])
    generator = torch.Generator().manual_seed(3)
    draws = {"generator": generator} if name == "euler_a" else {}
    for index, timestep in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(latents, timestep)
        perfect = _prediction(scheduler, index, latents, clean)
        assert torch.allclose(estimate_clean(scheduler, index, latents, perfect), clean, atol=2e-3)
        latents = scheduler.step(perfect, timestep, latents, **draws, return_dict=False)[0]
    assert torch.allclose(latents, clean, atol=2e-3)


def _prediction(scheduler: Loose, index: int, latents: torch.Tensor, clean: torch.Tensor) -> Loose:
    """What the network should say, given what the picture is."""
    sigma = float(scheduler.sigmas[index])
    share = (1 + sigma * sigma) ** -0.5
    keeping = type(scheduler).__name__.startswith(("DPMSolver", "UniPC"))
    scaled = latents if keeping else latents * share
    epsilon = (scaled - share * clean) / (share * sigma)
    if scheduler.config.prediction_type == "epsilon":
        return epsilon
    return share * epsilon - share * sigma * clean


@pytest.mark.parametrize("name", SOLVERS)
def test_text_to_image_takes_the_solver_s_own_grid(name: str) -> None:
    scheduler = make_scheduler(SCHEDULER, choose(SCHEDULER, name, planned=False))
    set_own_grid(scheduler, 6, CPU)
    assert len(scheduler.timesteps) == (11 if name == "heun" else 6)


def test_the_checkpoints_own_solver_is_the_default() -> None:
    config = SCHEDULER | {"_class_name": "DPMSolverMultistepScheduler", "use_karras_sigmas": True}
    choice = choose(config, None, planned=False)
    assert (choice.name, choice.differences) == ("dpm++", ())
    assert make_scheduler(config, choice).config.use_karras_sigmas is True


def test_a_solver_asked_for_by_name_is_plain() -> None:
    config = SCHEDULER | {"use_karras_sigmas": True}
    for name, spaced in (("euler", False), ("dpm++", False), ("dpm++_karras", True)):
        choice = choose(config, name, planned=False)
        assert make_scheduler(config, choice).config.use_karras_sigmas is spaced
    assert choose(config, "euler", planned=True).differences == ()


@pytest.mark.parametrize("own", ["PNDMScheduler", "DDIMScheduler", "DEISMultistepScheduler"])
def test_image_to_image_names_its_substitute(own: str) -> None:
    config = SCHEDULER | {"_class_name": own}
    assert choose(config, None, planned=False).differences == ()
    choice = choose(config, None, planned=True)
    (difference,) = choice.differences
    assert (choice.name, difference.effective) == (SUBSTITUTE, SUBSTITUTE)
    assert "own" in difference.requested


@pytest.mark.parametrize("flag", ["use_karras_sigmas", "use_exponential_sigmas"])
def test_image_to_image_drops_a_spacing_openly(flag: str) -> None:
    config = SCHEDULER | {flag: True}
    choice = choose(config, None, planned=True)
    assert [row.requested for row in choice.differences] == [f"euler with {flag}"]
    scheduler = make_scheduler(config, choice)
    set_grid(scheduler, choice.solver, [500, 250], CPU)
    assert scheduler.timesteps.tolist() == [500, 250]


def test_a_named_spacing_is_dropped_too() -> None:
    choice = choose(SCHEDULER, "dpm++_karras", planned=True)
    assert choice.name == "dpm++"
    assert len(choice.differences) == 1
    assert choose(SCHEDULER, "DPM++_Karras", planned=False).name == "dpm++_karras"


def test_an_unknown_name_is_the_caller_s_fault_and_an_unknown_class_the_operator_s() -> None:
    with pytest.raises(RequestError) as caught:
        choose(SCHEDULER, "brownian", planned=False)
    assert caught.value.field == "config.scheduler"
    with pytest.raises(RequestError):
        choose(SCHEDULER, "ddim", planned=False)
    with pytest.raises(ModelLoadFailed):
        check_own({"_class_name": "FlowMatchEulerDiscreteScheduler"})
