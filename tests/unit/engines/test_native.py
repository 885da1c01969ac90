"""A small model's own sizes: what is asked is mapped openly, and only where a profile says so."""

import json
from pathlib import Path

import pytest

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.native import FILE_NAME, Native, fit_shape, read_profile

IMAGE = Native(sizes=((128, 128), (128, 72), (72, 128)))
VIDEO = Native(sizes=((96, 96), (80, 128), (128, 80)), frames=(17,))


@pytest.mark.parametrize(
    ("native", "asked", "made"),
    [
        (IMAGE, (1024, 1024, 1), (128, 128, 1)),
        (IMAGE, (1024, 576, 1), (128, 72, 1)),
        (IMAGE, (576, 1024, 1), (72, 128, 1)),
        (IMAGE, (768, 512, 1), (128, 72, 1)),
        (VIDEO, (480, 832, 81), (80, 128, 17)),
        (VIDEO, (832, 480, 161), (128, 80, 17)),
        (VIDEO, (624, 624, 5), (96, 96, 17)),
        (VIDEO, (480, 832, 1), (80, 128, 1)),
        (Native(sizes=((64, 64), (128, 128))), (1024, 1024, 1), (128, 128, 1)),
    ],
)
def test_the_nearest_shape_by_aspect_then_area(
    native: Native, asked: tuple[int, int, int], made: tuple[int, int, int]
) -> None:
    shape = fit_shape(native, *asked)
    assert (shape.width, shape.height, shape.frames) == made


def test_every_mapped_parameter_is_reported() -> None:
    rows = fit_shape(VIDEO, 480, 832, 81).differences
    said = [(row.parameter, row.requested, row.effective) for row in rows]
    assert said == [("size", "480x832", "80x128"), ("frames", "81", "17")]
    assert fit_shape(VIDEO, 96, 96, 17).differences == ()


def test_without_a_profile_everything_is_exact(tmp_path: Path) -> None:
    profile = read_profile(tmp_path)
    shape = fit_shape(profile.native, 1000, 8, 81)
    assert (shape.width, shape.height, shape.frames, shape.differences) == (1000, 8, 81, ())


def test_a_profile_lies_in_the_folder_or_beside_the_file(tmp_path: Path) -> None:
    content = {"name": "Pocket", "native": {"sizes": [[96, 96]], "max_prompt_tokens": 64}, "x": 1}
    (tmp_path / FILE_NAME).write_text(json.dumps(content))
    (tmp_path / "model.safetensors").touch()
    for place in (tmp_path, tmp_path / "model.safetensors"):
        profile = read_profile(place)
        assert (profile.name, profile.native.sizes) == ("Pocket", ((96, 96),))
        assert profile.native.max_prompt_tokens == 64


@pytest.mark.parametrize("content", ["{", '{"native": {"sizes": [[1]]}}', '{"name": 5}'])
def test_a_malformed_profile_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / FILE_NAME).write_text(content)
    with pytest.raises(ModelLoadFailed, match=FILE_NAME):
        read_profile(tmp_path)
