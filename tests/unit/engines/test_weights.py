"""Only whole safetensors files are loaded; everything else is refused before it is read."""

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPTextModel

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.device import open_device
from ourvidz_worker.engines.weights import (
    load_component,
    open_model,
    read_header,
    read_json,
    variant_of,
)

VARIABLE = "SDXL_MODEL_PATH"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.arange(6.0).view(2, 3), "b": torch.zeros(4)}, path)
    return path


def _with_header(path: Path, header: bytes, data: bytes = b"") -> Path:
    path.write_bytes(struct.pack("<Q", len(header)) + header + data)
    return path


def test_a_header_is_read(file: Path) -> None:
    header = read_header(file)
    assert header["a"].shape == (2, 3)
    assert header["a"].dtype == "F32"


def test_no_model_is_said_with_the_setting() -> None:
    with pytest.raises(ModelLoadFailed, match=VARIABLE):
        open_model(None, VARIABLE)


def test_a_missing_folder_is_said_without_its_path(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    with pytest.raises(ModelLoadFailed, match=VARIABLE) as caught:
        open_model(missing, VARIABLE)
    assert str(tmp_path) not in caught.value.sentence
    assert caught.value.facts["path"] == str(missing)


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".ckpt", ".pth"])
def test_pickles_are_refused_by_name_without_being_loaded(tmp_path: Path, suffix: str) -> None:
    for path in (tmp_path / f"whole{suffix}", tmp_path / "unet" / f"model{suffix}"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\x80\x04would run code.")
    for chosen in (tmp_path / f"whole{suffix}", tmp_path):
        with pytest.raises(ModelLoadFailed, match=rf"\{suffix}.*safetensors"):
            open_model(chosen, VARIABLE)


def test_a_component_of_pickles_is_refused(tmp_path: Path, file: Path) -> None:
    folder = tmp_path / "text_encoder"
    folder.mkdir()
    (folder / "pytorch_model.bin").write_bytes(b"\x80")
    assert open_model(tmp_path, VARIABLE).size_bytes == file.stat().st_size
    with pytest.raises(ModelLoadFailed, match=r"\.bin"):
        load_component(CLIPTextModel, folder, open_device("cpu", "auto"))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="no safetensors"):
        open_model(tmp_path, VARIABLE)


def test_a_file_cut_short_is_refused_before_it_is_loaded(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(ModelLoadFailed, match="cut short"):
        open_model(file, VARIABLE)


@pytest.mark.parametrize(
    "entry",
    [
        {"dtype": "F32", "shape": [4], "data_offsets": [0, 4]},
        {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]},
        {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]},
        {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]},
        {"dtype": "F32", "shape": "four", "data_offsets": [0, 4]},
        {"shape": [1]},
        7,
    ],
)
def test_headers_out_of_bounds_are_refused(tmp_path: Path, entry: object) -> None:
    path = _with_header(tmp_path / "x.safetensors", json.dumps({"a": entry}).encode(), b"\0" * 16)
    with pytest.raises(ModelLoadFailed, match="damaged"):
        read_header(path)


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 1 << 60), b"[]" * 9])
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    with pytest.raises(ModelLoadFailed, match="damaged"):
        read_header(path)


def test_a_header_that_is_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelLoadFailed, match="damaged"):
        read_header(_with_header(tmp_path / "x.safetensors", b"[1]"))


def test_the_digest_tells_weights_of_one_architecture_apart(tmp_path: Path) -> None:
    one, same, other = (tmp_path / name / "m.safetensors" for name in ("one", "same", "other"))
    for path, value in ((one, 1.0), (same, 1.0), (other, 2.0)):
        path.parent.mkdir()
        save_file({"a": torch.full((4096,), value)}, path)
    digests = [open_model(path, VARIABLE).digest for path in (one, same, other)]
    assert digests[0] == digests[1] != digests[2]


def test_half_precision_files_are_found_by_their_name(tmp_path: Path) -> None:
    assert variant_of(tmp_path) is None
    (tmp_path / "model.fp16.safetensors").touch()
    assert variant_of(tmp_path) == "fp16"
    (tmp_path / "model.safetensors").touch()
    assert variant_of(tmp_path) is None


def test_json_must_be_an_object(tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[1]")
    (tmp_path / "broken.json").write_text("{")
    for name in ("list.json", "broken.json", "absent.json"):
        with pytest.raises(ModelLoadFailed):
            read_json(tmp_path / name)


def test_a_component_without_all_its_weights_is_refused(tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "text_encoder"
    model = CLIPTextModel.from_pretrained(tiny / "sdxl" / "text_encoder")
    model.save_pretrained(folder)
    compute, kept = open_device("cpu", "auto"), model.state_dict()
    others = {name.replace("fc1", "fc9"): tensor for name, tensor in kept.items()}
    save_file(others, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadFailed, match="lacks 6 of its weights"):
        load_component(CLIPTextModel, folder, compute)
    fewer = {name: tensor for name, tensor in kept.items() if "fc1" not in name}
    save_file(fewer, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadFailed, match="do not belong"):
        load_component(CLIPTextModel, folder, compute)


def test_the_older_names_of_text_encoders_load(tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "text_encoder"
    model = CLIPTextModel.from_pretrained(tiny / "sdxl" / "text_encoder")
    model.save_pretrained(folder)
    bare = {name.removeprefix("text_model."): t for name, t in model.state_dict().items()}
    older = {f"text_model.{name}": tensor for name, tensor in bare.items()}
    older["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    save_file(older, folder / "model.safetensors", metadata={"format": "pt"})
    loaded = load_component(CLIPTextModel, folder, open_device("cpu", "auto"))
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in loaded.state_dict().items())
