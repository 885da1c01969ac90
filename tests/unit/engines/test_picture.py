"""Reference pictures are made upright, opaque and exactly as large as asked (I-3)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.unit.engines.engine_bench import Loose

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.engines.encode import Pixels
from ourvidz_worker.engines.picture import Policy, read_reference


def save(path: Path, pixels: Loose, **options: Loose) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def halves(width: int, height: int) -> Pixels:
    """Left half red, right half blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return pixels


@pytest.mark.parametrize("policy", ["center_crop", "letterbox", "stretch"])
def test_a_picture_of_the_right_size_is_unchanged(
    make_photo: Callable[..., Path], policy: Policy
) -> None:
    photo = make_photo(size=(32, 40))
    pixels = read_reference(photo, 32, 40, policy)
    assert np.array_equal(pixels, np.asarray(Image.open(photo)))


@pytest.mark.parametrize("size", [(64, 64), (40, 200), (200, 40), (7, 5), (33, 41)])
@pytest.mark.parametrize("policy", ["center_crop", "letterbox", "stretch"])
def test_every_picture_gets_the_size_asked(
    make_photo: Callable[..., Path], size: tuple[int, int], policy: Policy
) -> None:
    pixels = read_reference(make_photo(size=size), 48, 64, policy)
    assert pixels.shape == (64, 48, 3)
    assert pixels.dtype == np.uint8


def test_covering_crops_the_middle(tmp_path: Path) -> None:
    wide = save(tmp_path / "wide.png", halves(200, 50))
    pixels = read_reference(wide, 50, 50)
    assert pixels[25, 5].tolist() == [255, 0, 0]
    assert pixels[25, -5].tolist() == [0, 0, 255]
    assert abs(int((pixels[:, :, 0] > 127).sum()) - 50 * 25) < 100


def test_a_letterbox_is_white_and_a_stretch_keeps_all(tmp_path: Path) -> None:
    wide = save(tmp_path / "wide.png", halves(100, 50))
    boxed = read_reference(wide, 100, 100, "letterbox")
    assert boxed[0, 0].tolist() == boxed[-1, -1].tolist() == [255, 255, 255]
    assert boxed[50, 5].tolist() == [255, 0, 0]
    stretched = read_reference(wide, 50, 100, "stretch")
    assert stretched[0, 2].tolist() == [255, 0, 0]


def test_the_camera_s_turn_is_undone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = save(tmp_path / "turned.jpg", halves(64, 64), exif=exif, quality=95)
    pixels = read_reference(turned, 64, 64)
    assert pixels[5, 32, 0] > 200
    assert pixels[-5, 32, 2] > 200


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:8, :, 3] = 255
    clear = save(tmp_path / "clear.png", pixels)
    seen = read_reference(clear, 16, 16)
    assert seen[0, 0].tolist() == [0, 0, 0]
    assert seen[-1, 0].tolist() == [255, 255, 255]
    palette = Image.open(clear).convert("P")
    palette.info["transparency"] = palette.getpixel((0, 0))
    palette.save(tmp_path / "palette.png", transparency=palette.info["transparency"])
    assert read_reference(tmp_path / "palette.png", 16, 16)[0, 0].tolist() == [255, 255, 255]


def test_grey_and_deep_pictures_keep_their_tone(tmp_path: Path) -> None:
    grey = save(tmp_path / "grey.png", np.full((16, 16), 77, np.uint8))
    assert read_reference(grey, 16, 16)[3, 3].tolist() == [77, 77, 77]
    deep = save(tmp_path / "deep.png", np.full((16, 16), 77 * 257, np.uint16))
    assert read_reference(deep, 16, 16)[3, 3].tolist() == [77, 77, 77]


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(BadReference) as caught:
        read_reference(path, 16, 16)
    assert caught.value.reason == "REFERENCE_NOT_AN_IMAGE"


def test_a_picture_cut_short_is_named(make_photo: Callable[..., Path]) -> None:
    photo = make_photo()
    photo.write_bytes(photo.read_bytes()[:-200])
    with pytest.raises(BadReference):
        read_reference(photo, 16, 16)
