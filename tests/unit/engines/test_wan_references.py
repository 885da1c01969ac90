"""The five reference modes, on tiny random checkpoints with VACE blocks."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.engines.engine_bench import Bench, Loose, clip_with, load

from ourvidz_worker.domain.errors import (
    BadReference,
    ModelLoadFailed,
)
from ourvidz_worker.testing.check_engine import digests
from ourvidz_worker.testing.tiny_models import build_wan

Photo = Callable[..., Path]
REFERENCES = {
    "single": {"image": "x"},
    "start": {"first": "x"},
    "end": {"last": "x"},
    "both": {"first": "x", "last": "y"},
}


def guided(mode: str, **changes: Loose) -> Loose:
    return clip_with(mode=mode, **REFERENCES[mode], **changes)


def given(mode: str, photo: Photo, tone: int = 0) -> dict[str, Path]:
    roles = REFERENCES[mode]
    return {role: photo(f"{role}-{tone}", tone=tone + 40 * i) for i, role in enumerate(roles)}


@pytest.mark.parametrize("mode", REFERENCES)
def test_references_change_the_clip(guided_clips: Bench, make_photo: Photo, mode: str) -> None:
    made = [guided_clips.run(guided(mode), given(mode, make_photo, tone)) for tone in (0, 120)]
    plain = guided_clips.run(clip_with())
    assert len({digests(product)[0] for product in (*made, plain)}) == 3
    said = made[0].artifacts[0].metadata
    assert (said["pipeline"], said["denoise_strength"]) == ("img2video", 0.2)
    assert made[0].facts["conditioning_scale"] == 1.0
    assert made[0].effective["wan_task"] == "vace"
    assert made[0].artifacts[0].metadata["guidance_scale"] == 5.0
    ends = {"first": mode != "end", "last": mode in {"end", "both"}}
    for end, pinned in ends.items():
        assert (f"{end}_frame_ssim" in made[0].effective) is pinned


@pytest.mark.parametrize("mode", ["single", "start", "both"])
def test_the_pinned_frame_is_the_picture_through_the_vae(
    guided_clips: Bench, make_photo: Photo, mode: str
) -> None:
    work = guided_clips.compute(guided(mode, frames=9), given(mode, make_photo))
    vae = guided_clips.engine._loaded.vae  # type: ignore[attr-defined]
    with torch.inference_mode():
        clean = work.control.pinned[work.control.references]
        alone = vae.decode(clean, lambda done, total: None)
    assert np.array_equal(work.frames[0], alone[0])


def test_without_references_the_vace_blocks_never_run(
    guided_clips: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    vace = guided_clips.engine._loaded.vace  # type: ignore[attr-defined]

    def never(*args: object, **options: object) -> None:
        raise AssertionError("a VACE block ran")

    for block in vace.vace_blocks:
        monkeypatch.setattr(block, "forward", never)
    assert guided_clips.run(clip_with()).effective["wan_task"] == "t2v"


def test_a_scale_of_0_is_plain_text_to_video_with_a_warning(
    guided_clips: Bench, make_photo: Photo
) -> None:
    none = guided_clips.run(clip_with())
    off = guided_clips.run(guided("start", strength=1.0), given("start", make_photo))
    assert digests(none) == digests(off)
    assert "no effect" in off.warnings[0]
    override = guided("start", strength=1.0, conditioning_scale=0.7)
    on = guided_clips.run(override, given("start", make_photo))
    assert on.facts["conditioning_scale"] == 0.7
    assert digests(on) != digests(none)


def test_a_still_takes_its_reference_as_the_subject(guided_clips: Bench, make_photo: Photo) -> None:
    product = guided_clips.run(guided("single", frames=1), given("single", make_photo))
    assert product.artifacts[0].metadata["pipeline"] == "img2img"
    assert product.effective["conditioning_mode"] == "subject"
    with pytest.raises(BadReference) as caught:
        guided_clips.compute(guided("start", frames=1), given("start", make_photo))
    assert caught.value.reason == "REFERENCE_UNSUPPORTED"


def test_a_reference_is_never_ignored(clips: Bench, guided_clips: Bench, make_photo: Photo) -> None:
    with pytest.raises(ModelLoadFailed, match="WAN_VACE_MODEL_PATH"):
        clips.compute(guided("start"), given("start", make_photo))
    with pytest.raises(BadReference) as caught:
        guided_clips.compute(guided("both"), given("start", make_photo))
    assert caught.value.reason == "REFERENCE_MISSING"


def test_one_set_of_weights_serves_both(
    tiny: Path, tmp_path: Path, guided_clips: Bench, make_photo: Photo
) -> None:
    loaded = guided_clips.engine._loaded  # type: ignore[attr-defined]
    assert loaded.plain.blocks is loaded.vace.blocks
    equal = Bench(load("wan", tiny / "wan", second_model=tiny / "vace"), tmp_path / "equal")
    assert equal.engine.describe().components == guided_clips.engine.describe().components
    others = build_wan(tmp_path / "others", seed=9)
    other = Bench(load("wan", others, second_model=tiny / "vace"), tmp_path / "other")
    sizes = other.engine.describe().components
    assert sizes["vace"] > sizes["transformer"], "other weights are kept beside"
    for bench in (equal, other):
        assert bench.run(guided("end"), given("end", make_photo)).artifacts
    assert not torch.equal(equal.compute(clip_with()).latents, other.compute(clip_with()).latents)


def test_a_vace_folder_is_at_scale_0_the_plain_model(guided_clips: Bench) -> None:
    loaded = guided_clips.engine._loaded  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 16, 2, 6, 4, generator=generator)
    text = torch.randn(1, 64, 32, generator=generator)
    asked = {
        "hidden_states": latents,
        "timestep": torch.tensor([500]),
        "encoder_hidden_states": text,
        "return_dict": False,
    }
    with torch.inference_mode():
        plain = loaded.plain(**asked)[0]
        off = loaded.vace(
            **asked,
            control_hidden_states=torch.randn(1, 96, 2, 6, 4, generator=generator),
            control_hidden_states_scale=torch.zeros(2),
        )[0]
    assert torch.equal(plain, off)


def test_a_plain_folder_is_no_vace_folder(tiny: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="no VACE"):
        load("wan", tiny / "wan", second_model=tiny / "wan")


def test_half_precision_draws_too(tiny: Path, tmp_path: Path, make_photo: Photo) -> None:
    bench = Bench(load("wan", tiny / "vace", dtype="bfloat16"), tmp_path / "bench")
    product = bench.run(guided("both"), given("both", make_photo))
    assert product.effective["precision"] == "bfloat16"
