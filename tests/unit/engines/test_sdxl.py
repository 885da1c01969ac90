"""The picture engine end to end, on a tiny random checkpoint."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.unit.engines.engine_bench import CLIP, Bench, Loose, guided_picture, load, picture_with

from ourvidz_worker.domain.errors import (
    AttemptError,
    InvalidPrompt,
    ModelLoadFailed,
    RequestError,
    StopRequested,
)
from ourvidz_worker.engines.sdxl_schedule import SOLVERS
from ourvidz_worker.engines.tensors import to_pixels
from ourvidz_worker.testing.check_engine import compute, digests
from ourvidz_worker.testing.gate import RecordingGate

Photo = Callable[..., Path]


def test_a_picture_of_a_batch_has_the_bits_it_has_alone(pictures: Bench) -> None:
    batch = pictures.run(picture_with(count=3), seed=11)
    alone = [digests(pictures.run(picture_with(), seed=11 + i))[0] for i in range(3)]
    assert digests(batch) == alone
    assert len(set(alone)) == 3


@pytest.mark.parametrize("scheduler", SOLVERS)
def test_every_solver_draws_a_batch_as_alone(pictures: Bench, scheduler: str) -> None:
    batch = pictures.run(picture_with(count=2, scheduler=scheduler), seed=3)
    alone = [
        digests(pictures.run(picture_with(scheduler=scheduler), seed=3 + i))[0] for i in range(2)
    ]
    assert digests(batch) == alone
    assert batch.artifacts[0].metadata["scheduler"] == scheduler


def test_the_metadata_are_the_contract_s(pictures: Bench) -> None:
    request = picture_with(count=2, negative_prompt="bad", seed=5)
    first, second = pictures.run(request, seed=5).artifacts
    said = dict(first.metadata)
    assert second.metadata["seed"] == second.metadata["generation_seed"] == 6
    assert said.pop("file_size_bytes") == first.size_bytes
    assert said == {
        "seed": 5,
        "generation_seed": 5,
        "batch_size": 2,
        "steps": 3,
        "num_inference_steps": 3,
        "effective_steps": 3,
        "guidance_scale": 5.0,
        "pipeline": "txt2img",
        "negative_prompt_used": True,
        "scheduler": "euler",
        "width": 32,
        "height": 40,
        "format": "png",
        "asset_index": 0,
    }


@pytest.mark.parametrize(
    ("guidance", "negative", "expected", "fed"),
    [
        (1.0, "bad", "unused", 2),
        (0.0, None, "unused", 2),
        (5.0, None, "zeros", 2),
        (5.0, "", "encoded", 4),
        (5.0, "bad", "encoded", 4),
    ],
)
def test_what_stands_for_the_negative_is_told(
    pictures: Bench, guidance: float, negative: str | None, expected: str, fed: int
) -> None:
    product = pictures.run(picture_with(guidance=guidance, negative_prompt=negative))
    assert product.effective["negative"] == expected
    assert len(product.fed) == fed
    assert product.artifacts[0].metadata["negative_prompt_used"] is (
        negative == "bad" and guidance > 1
    )


def test_without_guidance_a_negative_changes_nothing(pictures: Bench) -> None:
    one, other = (
        pictures.run(picture_with(guidance=1.0, negative_prompt=text)) for text in ("x", None)
    )
    assert digests(one) == digests(other)


def test_an_absent_negative_is_encoded_where_the_checkpoint_says_so(
    tiny: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(tiny / "sdxl", folder)
    index = json.loads((folder / "model_index.json").read_text())
    index["force_zeros_for_empty_prompt"] = False
    (folder / "model_index.json").write_text(json.dumps(index))
    bench = Bench(load("sdxl", folder), tmp_path / "bench")
    assert bench.run(picture_with()).effective["negative"] == "encoded"


@pytest.mark.parametrize("call", range(1, 12))
def test_a_stop_before_the_end_never_decodes(
    pictures: Bench, call: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    vae = type(pictures.engine._loaded.vae)  # type: ignore[attr-defined]
    original = vae.decode

    def watched(self: Loose, latents: torch.Tensor) -> Loose:
        decoded.append(1)
        return original(self, latents)

    monkeypatch.setattr(vae, "decode", watched)
    task = pictures.task(picture_with(steps=4))
    gate = RecordingGate(stop_at=call)
    with pytest.raises(StopRequested):
        compute(pictures.engine, task, gate)
    assert decoded == []
    assert list(task.spool.iterdir()) == []


def test_progress_counts_every_step_of_every_picture(pictures: Bench) -> None:
    pictures.compute(picture_with(count=2))
    told = [(step.stage, step.step, step.steps) for step in pictures.gate.steps]
    denoise = [("denoise", step, 6) for step in range(1, 7)]
    assert told == [("text", 1, 1), *denoise, ("decode", 1, 2), ("decode", 2, 2)]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_out_of_range_are_never_a_black_picture(
    pictures: Bench, monkeypatch: pytest.MonkeyPatch, value: float
) -> None:
    """S-2: `GENERATION_ERROR`, whatever stage they come from."""
    unet = pictures.engine._loaded.unet  # type: ignore[attr-defined]
    monkeypatch.setattr(unet, "forward", lambda x, *args, **options: (torch.full_like(x, value),))
    with pytest.raises(AttemptError) as caught:
        pictures.compute(picture_with())
    assert caught.value.code == "GENERATION_ERROR"


def test_a_picture_of_one_colour_is_a_fault(
    pictures: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    vae = pictures.engine._loaded.vae  # type: ignore[attr-defined]
    black = to_pixels(torch.full((3, 40, 32), -1.0))
    monkeypatch.setattr(type(vae), "decode", lambda self, latents: black)
    with pytest.raises(AttemptError, match="single colour"):
        pictures.compute(picture_with())


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"width": 36}, "config.resolution"),
        ({"scheduler": "magic"}, "config.scheduler"),
        ({"reference": "x", "strength": None}, "config.denoise_strength"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_field(
    pictures: Bench, make_photo: Photo, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises(RequestError) as caught:
        pictures.compute(picture_with(**changes), reference=make_photo())
    assert caught.value.field == field


def test_other_requests_and_endless_prompts_are_refused(pictures: Bench) -> None:
    with pytest.raises(RequestError):
        pictures.compute(CLIP)
    with pytest.raises(InvalidPrompt, match="1500 tokens"):
        pictures.compute(picture_with(prompt="red " * 1500))


def test_a_prompt_of_many_chunks_works_and_is_told(pictures: Bench) -> None:
    product = pictures.run(picture_with(prompt="red " * 200, negative_prompt="bad"))
    assert product.facts["prompt_tokens"] == 200
    assert product.facts["prompt_chunks"] == 3
    cut = pictures.run(picture_with(prompt="red " * 1100, allow_truncation=True))
    assert cut.facts["prompt_truncated"] is True
    assert cut.warnings


def test_weighting_is_off_unless_asked_and_then_changes_the_picture(
    pictures: Bench, make_photo: Photo
) -> None:
    text = "a (red:1.6) apple"
    literal = pictures.run(picture_with(prompt=text))
    plain = pictures.run(picture_with(prompt="a red apple"))
    weighed = pictures.run(picture_with(prompt=text, weighting=True, negative_prompt="(bad:1.2)"))
    assert literal.effective["weighting"] == "none"
    assert len({digests(each)[0] for each in (literal, plain, weighed)}) == 3
    extra = pictures.run(picture_with(prompt="a", weighting=True, weights="(red:1.6)"))
    assert extra.facts["final_prompt"] == "a, (red:1.6)"
    assert extra.facts["compel_success"] is True
    photo = make_photo()
    both = [
        pictures.run(guided_picture(prompt=text, weighting=on), reference=photo)
        for on in (True, False)
    ]
    assert digests(both[0]) != digests(both[1])


def test_a_small_model_maps_sizes_openly(tiny: Path, tmp_path: Path, make_photo: Photo) -> None:
    folder = tmp_path / "pocket"
    shutil.copytree(tiny / "sdxl", folder)
    native = {"sizes": [[32, 32], [48, 24]]}
    (folder / "ourvidz.json").write_text(json.dumps({"name": "Pocket", "native": native}))
    bench = Bench(load("sdxl", folder), tmp_path / "bench")
    request = picture_with(width=1024, height=576)
    product = bench.run(request)
    assert (product.artifacts[0].metadata["width"], product.effective["height"]) == (48, 24)
    (difference,) = product.differences
    assert (difference.requested, difference.effective) == ("1024x576", "48x24")
    assert product.facts["requested_resolution"] == "1024x576"
    assert bench.engine.describe().model == "Pocket"
    photo = make_photo()
    copied = bench.run(guided_picture(width=1024, height=1024, strength=0.0), reference=photo)
    assert copied.artifacts[0].metadata["width"] == 32


@pytest.mark.parametrize(
    ("component", "change", "reason"),
    [
        ("unet", {"in_channels": 9}, "inpainting"),
        ("unet", {"in_channels": 8}, "instruction"),
        ("unet", {"addition_embed_type": None}, "no SDXL checkpoint"),
        ("unet", {"time_cond_proj_dim": 256}, "guidance"),
        ("unet", {"_class_name": "UNet3DConditionModel"}, "no SDXL checkpoint"),
    ],
)
def test_other_folders_are_refused_by_name(
    tiny: Path, tmp_path: Path, component: str, change: dict[str, Any], reason: str
) -> None:
    folder = tmp_path / "other"
    shutil.copytree(tiny / "sdxl", folder)
    config = json.loads((folder / component / "config.json").read_text())
    (folder / component / "config.json").write_text(json.dumps(config | change))
    with pytest.raises(ModelLoadFailed, match=reason):
        load("sdxl", folder)


def test_a_refiner_folder_is_refused_by_name(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "refiner"
    shutil.copytree(tiny / "sdxl", folder)
    shutil.rmtree(folder / "text_encoder")
    with pytest.raises(ModelLoadFailed, match="refiner"):
        load("sdxl", folder)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_other_precisions_draw_too(tiny: Path, tmp_path: Path, dtype: str) -> None:
    bench = Bench(load("sdxl", tiny / "sdxl", dtype=dtype), tmp_path)
    product = bench.run(picture_with())
    assert product.effective["precision"] == dtype
    expected = "float32" if dtype == "float16" else dtype
    assert product.effective["vae_precision"] == expected


def test_a_vae_that_overflows_in_half_precision_is_widened(tiny: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sdxl"
    shutil.copytree(tiny / "sdxl", folder)
    config = json.loads((folder / "vae" / "config.json").read_text())
    (folder / "vae" / "config.json").write_text(json.dumps(config | {"force_upcast": False}))
    (file,) = (folder / "vae").glob("*.safetensors")
    weights = load_file(file)
    weights["decoder.conv_in.weight"] *= 2e4
    save_file(weights, file, metadata={"format": "pt"})
    bench = Bench(load("sdxl", folder, dtype="float16"), tmp_path / "bench")
    assert bench.run(picture_with()).effective["vae_precision"] == "float32"
    weights["decoder.conv_out.bias"][:] = float("nan")
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ModelLoadFailed, match="no picture"):
        load("sdxl", folder)
