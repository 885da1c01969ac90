"""How references reach the network: masks, controls and pins of the five modes."""

from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.unit.engines.engine_bench import Loose, clip_with

from ourvidz_worker.engines import Engine
from ourvidz_worker.engines.encode import Pixels
from ourvidz_worker.engines.tensors import to_values
from ourvidz_worker.engines.wan_conditioning import (
    HAS_SUBJECT,
    ROLES,
    Control,
    Mode,
    build_control,
    control_clip,
    kept_frames,
    latent_mask,
    mode_of,
    pin_above,
    scale_of,
)
from ourvidz_worker.engines.wan_denoise import ClipDenoiser
from ourvidz_worker.engines.wan_vae import ClipVae

FRAMES, HEIGHT, WIDTH = 9, 48, 32
GUIDED = [mode for mode in Mode if mode is not Mode.NONE]


def picture(seed: int) -> Pixels:
    ramp = np.random.default_rng(seed).integers(0, 255, (3, 2, 3)).repeat(16, 0).repeat(16, 1)
    pixels: Pixels = ramp.astype(np.uint8)
    return pixels


def pictures_of(mode: Mode) -> dict[str, Pixels]:
    return {role: picture(number) for number, role in enumerate(ROLES[mode])}


def no_tick(done: int, total: int) -> None:
    """Nobody watches."""


@pytest.fixture
def vae(vace_engine: Engine[Any]) -> ClipVae:
    found: ClipVae = vace_engine._loaded.vae  # type: ignore[attr-defined]
    return found


def control_of(vae: ClipVae, mode: Mode) -> Control:
    with torch.inference_mode():
        return build_control(vae, mode, FRAMES, pictures_of(mode), no_tick)


@pytest.mark.parametrize("frames", range(5, 162, 4))
@pytest.mark.parametrize("mode", GUIDED)
def test_the_latent_mask_keeps_exactly_the_pinned_ends(mode: Mode, frames: int) -> None:
    mask = latent_mask(mode, frames, 16, 24)
    last = (frames - 1) // 4
    assert mask.shape == (64, last + 1, 2, 3)
    per_frame = mask.amax(dim=(0, 2, 3))
    assert torch.equal(per_frame, mask.amin(dim=(0, 2, 3))), "a latent frame is kept in part"
    kept = {
        Mode.SINGLE: {0},
        Mode.SUBJECT: set(),
        Mode.START: {0},
        Mode.END: {last},
        Mode.BOTH: {0, last},
    }[mode]
    assert {index for index, value in enumerate(per_frame) if value == 0} == kept


@pytest.mark.parametrize("mode", GUIDED)
def test_the_control_clip_holds_pictures_where_kept_and_exact_grey_elsewhere(mode: Mode) -> None:
    values = {
        role: to_values(pixels, torch.device("cpu"), torch.float32)
        for role, pixels in pictures_of(mode).items()
    }
    clip = control_clip(mode, 17, values)
    kept = kept_frames(mode, 17)
    for frame in range(17):
        if frame not in kept:
            assert clip[:, :, frame].abs().max() == 0
    if mode in {Mode.START, Mode.BOTH, Mode.SINGLE}:
        assert torch.equal(clip[:, :, 0], values[ROLES[mode][0]])
        assert torch.equal(clip[:, :, 1], clip[:, :, 0])
    if mode in {Mode.END, Mode.BOTH}:
        assert all(torch.equal(clip[:, :, frame], values["last"]) for frame in range(13, 17))


@pytest.mark.parametrize("mode", GUIDED)
def test_a_control_has_96_channels_and_room_for_its_subject(vae: ClipVae, mode: Mode) -> None:
    ticks: list[tuple[int, int]] = []
    with torch.inference_mode():
        control = build_control(
            vae, mode, FRAMES, pictures_of(mode), lambda done, total: ticks.append((done, total))
        )
    subjects = int(mode in HAS_SUBJECT)
    assert control.references == subjects
    assert control.hints.shape == (1, 96, 3 + subjects, 6, 4)
    if subjects:
        assert control.hints[:, 16:, 0].abs().max() == 0
    assert [done for done, _ in ticks] == list(range(1, 7 + subjects))
    assert {total for _, total in ticks} == {6 + subjects}


def test_the_pinned_first_latent_is_the_picture_s_own(vae: ClipVae) -> None:
    values = to_values(picture(0), torch.device("cpu"), torch.float32)
    with torch.inference_mode():
        alone = vae.encode(values.unsqueeze(2), no_tick)
    for mode in (Mode.SINGLE, Mode.START, Mode.BOTH):
        control = control_of(vae, mode)
        assert torch.equal(control.pinned[control.references], alone)
    assert control_of(vae, Mode.SUBJECT).pinned == {}
    assert list(control_of(vae, Mode.END).pinned) == [2]


def test_modes_and_scales_follow_the_contract() -> None:
    single = clip_with(mode="single", image="x")
    assert mode_of(clip_with()) is Mode.NONE
    assert mode_of(single) is Mode.SINGLE
    assert mode_of(clip_with(mode="single", single_mode="subject")) is Mode.SUBJECT
    assert mode_of(clip_with(mode="single", frames=1)) is Mode.SUBJECT
    assert mode_of(clip_with(mode="both")) is Mode.BOTH
    scales = {strength: scale_of(clip_with(strength=strength)) for strength in (0.0, 0.2, 0.6, 1)}
    assert scales == {0.0: 1.0, 0.2: 1.0, 0.6: pytest.approx(0.5), 1: 0.0}
    assert scale_of(clip_with(strength=0.6, conditioning_scale=1.7)) == 1.7
    assert [pin_above(clip_with(strength=s)) for s in (0.2, 0.3, 0.5)] == [0.0, 0.0, 0.5]


@pytest.fixture(scope="module")
def pipeline(vace_engine: Engine[Any]) -> Loose:
    """The library's pipeline around the engine's own weights."""
    loaded = vace_engine._loaded  # type: ignore[attr-defined]
    library: Loose = diffusers
    scheduler = library.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0
    )
    return library.WanVACEPipeline(
        tokenizer=None,
        text_encoder=None,
        vae=loaded.vae.module,
        scheduler=scheduler,
        transformer=loaded.vace,
    )


def _given(mode: Mode) -> tuple[torch.Tensor, torch.Tensor, list[list[torch.Tensor]]]:
    """Clip, mask and subjects of a mode, as the pipeline takes them."""
    values = {
        role: to_values(pixels, torch.device("cpu"), torch.float32)
        for role, pixels in pictures_of(mode).items()
    }
    mask = torch.ones(1, 3, FRAMES, HEIGHT, WIDTH)
    mask[:, :, list(kept_frames(mode, FRAMES))] = 0.0
    subjects = [values["image"][0]] if mode in HAS_SUBJECT else []
    return control_clip(mode, FRAMES, values), mask, [subjects]


@pytest.mark.parametrize("mode", GUIDED)
def test_the_control_is_what_the_library_s_pipeline_builds(
    pipeline: Loose, vae: ClipVae, mode: Mode
) -> None:
    clip, mask, subjects = _given(mode)
    with torch.inference_mode():
        latents = pipeline.prepare_video_latents(clip, mask, subjects, None, torch.device("cpu"))
        theirs = torch.cat([latents, pipeline.prepare_masks(mask, subjects)], dim=1)
    assert torch.allclose(control_of(vae, mode).hints, theirs, atol=1e-5)


@pytest.mark.parametrize("mode", [Mode.SUBJECT, Mode.BOTH])
def test_without_pins_a_guided_clip_is_the_library_s(
    pipeline: Loose, vae: ClipVae, mode: Mode, monkeypatch: pytest.MonkeyPatch
) -> None:
    control = control_of(vae, mode)
    monkeypatch.setattr(pipeline, "preprocess_conditions", lambda *args: _given(mode))
    generator = torch.Generator().manual_seed(3)
    text, other = (torch.randn(1, 64, 32, generator=generator) for _ in range(2))
    shape = (1, 16, 3 + control.references, HEIGHT // 8, WIDTH // 8)
    noise = torch.randn(shape, generator=generator)
    theirs = pipeline(
        prompt_embeds=text,
        negative_prompt_embeds=other,
        latents=noise.clone(),
        conditioning_scale=0.5,
        width=WIDTH,
        height=HEIGHT,
        num_frames=FRAMES,
        num_inference_steps=3,
        guidance_scale=4.0,
        output_type="latent",
    ).frames
    denoiser = ClipDenoiser(
        transformer=pipeline.transformer,
        prompt=text,
        negative=other,
        guidance=4.0,
        solver="unipc",
        shift=5.0,
        steps=3,
        control=Control(hints=control.hints, references=control.references, scale=0.5),
    )
    with torch.inference_mode():
        ours = denoiser.draw(noise, lambda step, steps, see: None)
    assert ours.shape == (1, 16, 3, HEIGHT // 8, WIDTH // 8)
    assert torch.allclose(ours, theirs[:, :, -3:], atol=1e-5)
