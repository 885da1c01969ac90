"""What `doctor` says of models: every part that is missing or broken, at once."""

import json
import shutil
import struct
from pathlib import Path

import msgspec
import pytest

from ourvidz_worker.cli.finding import Finding
from ourvidz_worker.cli.model_checks import check_lanes, check_models
from ourvidz_worker.cli.shelf import open_shelf
from ourvidz_worker.config import Config

HEADER = json.dumps({"a": {"data_offsets": [0, 4]}}).encode()
WEIGHTS = struct.pack("<Q", len(HEADER)) + HEADER + b"1234"
DEPLOYED = Config(redis_url="redis://127.0.0.1")


def write(file: Path, content: bytes | str = "{}") -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def component(folder: Path) -> None:
    write(folder / "config.json")
    write(folder / "model.safetensors", WEIGHTS)


def sdxl(root: Path) -> Path:
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        component(root / name)
    write(root / "scheduler" / "scheduler_config.json")
    write(root / "tokenizer" / "vocab.json")
    write(root / "tokenizer" / "merges.txt")
    return root


def wan(root: Path, kind: str = "WanTransformer3DModel") -> Path:
    for name in ("transformer", "vae", "text_encoder"):
        component(root / name)
    write(root / "transformer" / "config.json", json.dumps({"_class_name": kind}))
    write(root / "tokenizer" / "spiece.model")
    return root


def chat(root: Path) -> Path:
    component(root)
    write(root / "tokenizer.json")
    return root


def faults(config: Config) -> list[Finding]:
    found = check_models(config)
    assert all(finding.cure for finding in found if finding.level != "ok")
    return [finding for finding in found if finding.level == "fail"]


def test_whole_models_are_well(tmp_path: Path) -> None:
    config = Config(
        sdxl_model_path=str(sdxl(tmp_path / "sdxl")),
        wan_model_path=str(wan(tmp_path / "wan")),
        wan_vace_model_path=str(wan(tmp_path / "vace")),
        qwen_instruct_path=str(chat(tmp_path / "instruct")),
        qwen_base_path=str(chat(tmp_path / "base")),
    )
    assert [finding.level for finding in check_models(config)] == ["ok"] * 5


def test_the_pocket_models_are_well() -> None:
    shelf = open_shelf()
    image, video = shelf.find("image"), shelf.find("video")
    assert image is not None
    assert video is not None
    config = Config(sdxl_model_path=str(image.folder), wan_model_path=str(video.folder))
    assert [finding.level for finding in check_models(config)] == ["ok", "ok"]


def test_every_model_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    """O-3: the full list, not the first."""
    (tmp_path / "empty").mkdir()
    cut = write(tmp_path / "cut" / "cut.safetensors", WEIGHTS[:-1])
    found = faults(
        Config(
            sdxl_model_path=str(cut),
            wan_model_path=str(tmp_path / "empty"),
            wan_vace_model_path=str(tmp_path / "none"),
            qwen_instruct_path=str(write(tmp_path / "model.gguf")),
        )
    )
    assert {finding.what for finding in found} == {
        "SDXL_MODEL_PATH",
        "WAN_MODEL_PATH",
        "WAN_VACE_MODEL_PATH",
        "QWEN_INSTRUCT_PATH",
    }
    told = " | ".join(finding.told for finding in found)
    for word in ("3 bytes of weights", "holds no safetensors", "no such file", "no safetensors"):
        assert word in told


def test_a_single_file_needs_its_tokenizer_beside_it(tmp_path: Path) -> None:
    file = write(tmp_path / "checkpoint.safetensors", WEIGHTS)
    (found,) = faults(Config(sdxl_model_path=str(file)))
    assert "holds no tokenizer" in found.told
    assert found.cure == "put CLIP's tokenizer folder beside the file"
    write(tmp_path / "tokenizer" / "tokenizer.json")
    assert faults(Config(sdxl_model_path=str(file))) == []


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("unet", "unet is missing"),
        ("vae/config.json", "vae/config.json is missing or malformed"),
        ("text_encoder_2/model.safetensors", "text_encoder_2 holds no safetensors"),
        ("tokenizer/merges.txt", "holds no tokenizer"),
        ("scheduler/scheduler_config.json", "scheduler_config.json is missing or malformed"),
    ],
)
def test_a_folder_tells_which_part_it_lacks(tmp_path: Path, missing: str, told: str) -> None:
    gone = sdxl(tmp_path / "sdxl") / missing
    shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
    (found,) = faults(Config(sdxl_model_path=str(tmp_path / "sdxl")))
    assert told in found.told


def test_a_model_in_pieces_lacks_none_of_them(tmp_path: Path) -> None:
    root = chat(tmp_path / "chat")
    pieces = {"a": "model.safetensors", "b": "model-00002.safetensors"}
    index = write(root / "model.safetensors.index.json", json.dumps({"weight_map": pieces}))
    (found,) = faults(Config(qwen_instruct_path=str(root)))
    assert found.told.endswith("lacks model-00002.safetensors")
    write(index, "[]")
    (found,) = faults(Config(qwen_instruct_path=str(root)))
    assert found.told.endswith("lacks a readable model.safetensors.index.json")


def test_a_tokenizer_must_be_readable(tmp_path: Path) -> None:
    root = chat(tmp_path / "chat")
    write(root / "tokenizer.json", '{"cut')
    (found,) = faults(Config(qwen_base_path=str(root)))
    assert "tokenizer.json is malformed" in found.told


def test_a_chat_model_is_a_folder(tmp_path: Path) -> None:
    file = write(tmp_path / "chat.safetensors", WEIGHTS)
    (found,) = faults(Config(qwen_instruct_path=str(file)))
    assert "is a single file" in found.told


def test_a_lane_without_a_model_is_a_warning_and_no_lane_a_fault(tmp_path: Path) -> None:
    """O-3: an absent optional model disables its lane; a pod without any does not start."""
    (found,) = check_lanes(DEPLOYED)
    assert found.level == "fail"
    assert "SDXL_MODEL_PATH, QWEN_INSTRUCT_PATH, WAN_MODEL_PATH" in found.cure
    image = msgspec.structs.replace(DEPLOYED, sdxl_model_path=str(tmp_path))
    told = {finding.told: finding.level for finding in check_lanes(image)}
    assert told == {
        "none for chat: the lane is not served": "warn",
        "none for video: the lane is not served": "warn",
    }


def test_a_lane_tells_what_it_cannot_do_without_its_second_model(tmp_path: Path) -> None:
    """V-3: without image-conditioning weights such videos fail, and that is known before."""
    config = msgspec.structs.replace(
        DEPLOYED,
        lanes="chat,video",
        qwen_instruct_path=str(chat(tmp_path / "chat")),
        wan_model_path=str(wan(tmp_path / "wan")),
    )
    first, second = check_lanes(config)
    assert "no Base model" in first.told
    assert "no VACE model" in second.told
    vace = str(wan(tmp_path / "vace", "WanVACETransformer3DModel"))
    whole = msgspec.structs.replace(config, qwen_base_path="x", wan_model_path=vace)
    assert check_lanes(whole) == []
    fake = msgspec.structs.replace(config, chat_engine="fake", video_engine="fake")
    assert check_lanes(fake) == []


def test_an_embedded_pod_fills_its_lanes_with_small_models(tmp_path: Path) -> None:
    (found,) = check_lanes(Config(qwen_instruct_path=str(tmp_path)))
    assert found.what == "small models"
    assert check_lanes(Config(image_engine="fake", lanes="image")) == []
