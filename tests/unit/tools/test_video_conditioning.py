"""The tensors of the reference modes, as training makes them; the plain model's weights."""

import pytest
import torch
from tools.pocket.video_conditioning import (
    CONTROL_CHANNELS,
    HAS_REFERENCE,
    LATENT_CHANNELS,
    MASK_CHANNELS,
    PINS_FIRST,
    PINS_LAST,
    Mode,
    assemble_control,
    control_video,
    kept_frames,
    latent_frames,
    mode_mask,
)
from tools.pocket.video_models import TINY, build_transformer, plain_view

from ourvidz_worker.engines import wan_conditioning

HEIGHT, WIDTH = 32, 48
LENGTHS = (5, 9, 17)


def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    first, last = torch.rand(2, 1, 3, HEIGHT, WIDTH, generator=generator) * 1.8 - 0.9
    return first, last


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("mode", Mode)
def test_the_latent_mask_keeps_only_the_pinned_ends(mode: Mode, frames: int) -> None:
    mask = mode_mask(mode, frames, HEIGHT, WIDTH)
    inner = latent_frames(frames)
    kept = [at for at in range(inner) if float(mask[:, at].max()) == 0.0]
    ends = [0] * (mode in PINS_FIRST) + [inner - 1] * (mode in PINS_LAST)
    assert mask.shape == (MASK_CHANNELS, inner, HEIGHT // 8, WIDTH // 8)
    assert set(mask.flatten().tolist()) <= {0.0, 1.0}
    assert kept == ends


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("mode", Mode)
def test_training_and_serving_keep_the_same_frames(mode: Mode, frames: int) -> None:
    served = wan_conditioning.Mode(mode.value)
    assert kept_frames(mode, frames) == wan_conditioning.kept_frames(served, frames)
    mask = wan_conditioning.latent_mask(served, frames, HEIGHT, WIDTH)
    assert torch.equal(mode_mask(mode, frames, HEIGHT, WIDTH), mask)


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("mode", Mode)
def test_unknown_pixels_are_exactly_grey(mode: Mode, frames: int) -> None:
    first, last = pictures()
    video = control_video(mode, frames, first, last)
    kept = kept_frames(mode, frames)
    unknown = [at for at in range(frames) if at not in kept]
    assert video.shape == (1, 3, frames, HEIGHT, WIDTH)
    assert float(video[:, :, unknown].abs().max()) == 0.0 if unknown else kept
    assert all(float(video[:, :, at].abs().max()) > 0.0 for at in kept)


@pytest.mark.parametrize("mode", [Mode.START, Mode.SINGLE, Mode.BOTH])
def test_the_start_shows_the_first_picture_and_the_end_the_last(mode: Mode) -> None:
    first, last = pictures()
    video = control_video(mode, 17, first, last)
    assert torch.equal(video[:, :, 0], first)
    assert torch.equal(video[:, :, -1], last if mode in PINS_LAST else torch.zeros_like(last))


@pytest.mark.parametrize("frames", LENGTHS)
@pytest.mark.parametrize("mode", Mode)
def test_the_control_has_a_latent_frame_for_each_reference(mode: Mode, frames: int) -> None:
    size = (2, LATENT_CHANNELS, latent_frames(frames), HEIGHT // 8, WIDTH // 8)
    mask = mode_mask(mode, frames, HEIGHT, WIDTH).expand(2, -1, -1, -1, -1)
    references = 1 if mode in HAS_REFERENCE else 0
    reference = torch.ones(2, LATENT_CHANNELS, 1, *size[3:]) if references else None
    control = assemble_control(torch.ones(size), torch.ones(size), mask, reference)
    inner = latent_frames(frames) + references
    assert control.shape == (2, CONTROL_CHANNELS, inner, HEIGHT // 8, WIDTH // 8)
    if references:
        assert float(control[:, :LATENT_CHANNELS, 0].min()) == 1.0
        assert float(control[:, LATENT_CHANNELS:, 0].abs().max()) == 0.0


def test_the_plain_model_is_a_part_of_the_one_with_references() -> None:
    vace = build_transformer(TINY)
    plain = plain_view(vace)
    whole, part = vace.state_dict(), plain.state_dict()
    extra = {name for name in whole if name.startswith("vace_")}
    assert set(part) == set(whole) - extra
    assert all(part[name].data_ptr() == whole[name].data_ptr() for name in part)
