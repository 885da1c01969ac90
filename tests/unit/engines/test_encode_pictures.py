"""PNG files and WEBP thumbnails: what is written is what was given."""

import io
import struct
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ourvidz_worker.domain.errors import AttemptError, ThumbnailFailed
from ourvidz_worker.engines.encode import Pixels, png, png_encoder, write_png, write_thumbnail
from ourvidz_worker.engines.encode.png import png_bytes
from ourvidz_worker.engines.encode.webp import thumbnail_size

SIDES = st.integers(1, 40)


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def chunk_kinds(path: Path) -> list[bytes]:
    data, at, kinds = path.read_bytes(), 8, []
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        kinds.append(kind)
        at += size + 12
    return kinds


@settings(max_examples=60, deadline=None)
@given(height=SIDES, width=SIDES, seed=st.integers(0, 9))
@pytest.mark.parametrize("encoder", ["fpng", "pillow"])
def test_both_encoders_are_lossless(
    encoder: Literal["fpng", "pillow"], height: int, width: int, seed: int
) -> None:
    if encoder == "fpng" and png_encoder() != "fpng":
        pytest.skip("this machine has no fpng")
    pixels = noise(height, width, seed)
    back = Image.open(io.BytesIO(png_bytes(pixels, encoder)))
    assert back.mode == "RGB"
    assert np.array_equal(np.asarray(back), pixels)


@pytest.mark.parametrize("side", [1, 64, 1024])
def test_a_written_picture_reads_back_equal_and_holds_no_text(side: int, tmp_path: Path) -> None:
    """S-2: PNG files carry no prompt."""
    pixels = noise(side, side)
    write_png(tmp_path / "0.png", pixels)
    with Image.open(tmp_path / "0.png") as back:
        assert np.array_equal(np.asarray(back), pixels)
    assert not {b"tEXt", b"iTXt", b"zTXt", b"eXIf"} & set(chunk_kinds(tmp_path / "0.png"))


def test_a_view_with_strides_is_written_right(tmp_path: Path) -> None:
    pixels = noise(20, 30)[::2, ::-1]
    write_png(tmp_path / "0.png", pixels)
    with Image.open(tmp_path / "0.png") as back:
        assert np.array_equal(np.asarray(back), pixels)


class BrokenFpng:
    """An encoder that a machine may not run, or that changes pixels."""

    def __init__(self, *, supported: bool) -> None:
        self.fpng_cpu_supports_sse41 = lambda: supported

    def fpng_encode_image_to_memory(self, pixels: Pixels, *_: int) -> bytes:
        return png_bytes(255 - pixels, "pillow")


@pytest.mark.parametrize(
    "library",
    [None, BrokenFpng(supported=False), BrokenFpng(supported=True)],
    ids=["missing", "unsupported", "damaging"],
)
def test_pillow_stands_in_where_fpng_cannot_be_trusted(
    library: BrokenFpng | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png, "fpng_py", library)
    png_encoder.cache_clear()
    try:
        assert png_encoder() == "pillow"
        pixels = noise(9, 5)
        write_png(tmp_path / "0.png", pixels)
        with Image.open(tmp_path / "0.png") as back:
            assert np.array_equal(np.asarray(back), pixels)
    finally:
        png_encoder.cache_clear()


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
    ],
)
def test_other_arrays_are_refused(pixels: Pixels, tmp_path: Path) -> None:
    with pytest.raises(AttemptError):
        write_png(tmp_path / "0.png", pixels)
    with pytest.raises(ThumbnailFailed):
        write_thumbnail(tmp_path / "0.webp", pixels)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_refuses_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(AttemptError, match="could not be written"):
        write_png(tmp_path / "absent" / "0.png", noise(4, 4))
    with pytest.raises(ThumbnailFailed):
        write_thumbnail(tmp_path / "absent" / "0.webp", noise(4, 4))


@given(width=st.integers(1, 4000), height=st.integers(1, 4000))
def test_thumbnails_keep_the_aspect_and_are_never_upscaled(width: int, height: int) -> None:
    small_width, small_height = thumbnail_size(width, height)
    assert max(small_width, small_height) == min(256, max(width, height))
    assert 1 <= small_width <= width
    assert 1 <= small_height <= height
    scale = max(small_width, small_height) / max(width, height)
    assert abs(small_width - max(1, width * scale)) <= 0.5
    assert abs(small_height - max(1, height * scale)) <= 0.5


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [(1024, 1024, (256, 256)), (832, 480, (148, 256)), (3, 2000, (256, 1)), (10, 20, (20, 10))],
)
def test_a_thumbnail_is_a_small_webp(
    height: int, width: int, expected: tuple[int, int], tmp_path: Path
) -> None:
    pixels = np.full((height, width, 3), (200, 40, 90), np.uint8)
    write_thumbnail(tmp_path / "0.thumb.webp", pixels)
    with Image.open(tmp_path / "0.thumb.webp") as back:
        assert (back.format, back.size) == ("WEBP", expected)
        found = np.asarray(back.convert("RGB")).astype(int)
    assert abs(found - (200, 40, 90)).max() <= 4
