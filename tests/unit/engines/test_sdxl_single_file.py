"""Single files: told apart by their header alone, and converted without the network."""

import shutil
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from tests.unit.engines.engine_bench import Bench, Loose, load, picture_with
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines import sdxl_base
from ourvidz_worker.engines.sdxl_checkpoint import check_channels
from ourvidz_worker.engines.sdxl_single_file import (
    FIRST_CONVOLUTION,
    REFINER_KEYS,
    SECOND_ENCODER_KEYS,
    VAE_KEYS,
    check_header,
    file_schedule,
)
from ourvidz_worker.engines.weights import Entry
from ourvidz_worker.testing.tiny_single_file import build_sdxl_file, mark


def header(*names: str) -> dict[str, Entry]:
    return {name: Entry(dtype="F16", shape=(320, 4, 3, 3), data_offsets=(0, 0)) for name in names}


WHOLE = (FIRST_CONVOLUTION, SECOND_ENCODER_KEYS + "ln_final.bias", VAE_KEYS + "x")


@pytest.fixture
def file(tiny: Path, tmp_path: Path) -> Path:
    return build_sdxl_file(tmp_path / "file", tiny / "sdxl")


def test_a_file_gives_the_weights_of_the_folder_it_was_made_of(
    file: Path, sdxl_engine: Loose
) -> None:
    loaded, folder = load("sdxl", file)._loaded, sdxl_engine._loaded  # type: ignore[attr-defined]
    pairs = [(loaded.unet, folder.unet), (loaded.vae.module, folder.vae.module)]
    pairs += zip(loaded.text.encoders, folder.text.encoders, strict=True)
    for one, other in pairs:
        ours, theirs = one.state_dict(), other.state_dict()
        assert ours.keys() == theirs.keys()
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor.half().float()), name
    assert loaded.name == "tiny"


def test_a_file_draws_pictures(file: Path, tmp_path: Path) -> None:
    """S-2: a single safetensors file as well as a folder."""
    product = Bench(load("sdxl", file), tmp_path / "bench").run(picture_with(count=2))
    assert len(product.artifacts) == 2
    assert product.effective["scheduler"] == "euler"


def test_the_built_in_facts_are_those_of_the_base_model() -> None:
    with torch.device("meta"):
        models = (
            UNet2DConditionModel.from_config(sdxl_base.UNET),
            AutoencoderKL.from_config(sdxl_base.VAE),
            CLIPTextModel(CLIPTextConfig(**sdxl_base.TEXT_ENCODER)),
            CLIPTextModelWithProjection(CLIPTextConfig(**sdxl_base.TEXT_ENCODER_2)),
        )
    counts = [sum(parameter.numel() for parameter in model.parameters()) for model in models]
    assert counts == [2_567_463_684, 83_653_863, 123_060_480, 694_659_840]


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (("cond_stage_model.x",), "no SDXL checkpoint"),
        ((*WHOLE, REFINER_KEYS + "x"), "refiner"),
        ((FIRST_CONVOLUTION, VAE_KEYS + "x"), "lacks a text encoder"),
        (WHOLE[:2], "lacks its VAE"),
    ],
)
def test_other_files_are_refused_by_name(names: tuple[str, ...], reason: str) -> None:
    with pytest.raises(ModelLoadFailed, match=reason):
        check_header(header(*names))


def test_a_whole_file_is_accepted() -> None:
    found = header(*WHOLE)
    check_header(found)
    assert len(found) == len(WHOLE)


@pytest.mark.parametrize(
    ("channels", "reason"), [(9, "inpainting"), (8, "instruction"), (5, "do not belong")]
)
def test_other_unets_are_refused_by_name(channels: int, reason: str) -> None:
    with pytest.raises(ModelLoadFailed, match=reason):
        check_channels(channels, 4)


def test_the_marks_of_v_prediction_are_read(tmp_path: Path) -> None:
    assert file_schedule(tmp_path, header())["prediction_type"] == "epsilon"
    config = file_schedule(tmp_path, header("v_pred", "ztsnr"))
    assert config["prediction_type"] == "v_prediction"
    assert config["rescale_betas_zero_snr"] is True
    assert config["timestep_spacing"] == "trailing"


def test_the_marks_reach_the_solver(tiny: Path, tmp_path: Path) -> None:
    """S-2: the prediction type comes from the checkpoint."""
    marks = {"v_pred": mark(), "ztsnr": mark()}
    marked = build_sdxl_file(tmp_path / "v", tiny / "sdxl", extra=marks)
    plain = build_sdxl_file(tmp_path / "e", tiny / "sdxl")
    digests = [
        Bench(load("sdxl", path), path.parent / "bench").run(picture_with()).artifacts[0].sha256
        for path in (marked, plain)
    ]
    assert digests[0] != digests[1]


def test_a_tokenizer_must_lie_beside_the_file(file: Path) -> None:
    shutil.rmtree(file.parent / "tokenizer_2")
    assert load("sdxl", file).describe().model == "tiny"
    shutil.rmtree(file.parent / "tokenizer")
    with pytest.raises(ModelLoadFailed, match="tokenizer"):
        load("sdxl", file)


def test_a_file_that_does_not_fit_its_config_is_refused(file: Path) -> None:
    shutil.rmtree(file.parent / "text_encoder")
    with pytest.raises(ModelLoadFailed):
        load("sdxl", file)
