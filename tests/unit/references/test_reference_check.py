"""Checking pictures: formats by content, sizes before decoding, broken files of each kind (R-2)."""

import random
import struct
import zlib
from io import BytesIO

import pytest
from PIL import Image

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.references.check import check_picture, sniff

LIMIT = 1_000_000


def picture(kind: str, size: tuple[int, int] = (24, 16), mode: str = "RGB") -> bytes:
    image = Image.effect_noise(size, 60).convert(mode)
    file = BytesIO()
    image.save(file, kind)
    return file.getvalue()


def moving(kind: str) -> bytes:
    first, second = (Image.new("RGB", (8, 8), colour) for colour in ("red", "blue"))
    file = BytesIO()
    first.save(file, kind, save_all=True, append_images=[second])
    return file.getvalue()


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def huge_png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    rows = png_chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + rows + png_chunk(b"IEND", b"")


def reason_of(data: bytes, max_pixels: int = 64_000_000) -> str:
    with pytest.raises(BadReference) as caught:
        check_picture(data, max_bytes=LIMIT, max_pixels=max_pixels)
    return caught.value.reason


@pytest.mark.parametrize(
    ("kind", "mode", "media_type"),
    [
        ("PNG", "RGB", "image/png"),
        ("PNG", "RGBA", "image/png"),
        ("PNG", "P", "image/png"),
        ("PNG", "I;16", "image/png"),
        ("JPEG", "RGB", "image/jpeg"),
        ("JPEG", "L", "image/jpeg"),
        ("JPEG", "CMYK", "image/jpeg"),
        ("WEBP", "RGB", "image/webp"),
        ("WEBP", "RGBA", "image/webp"),
    ],
)
def test_the_three_formats_pass(kind: str, mode: str, media_type: str) -> None:
    found = check_picture(picture(kind, mode=mode), max_bytes=LIMIT)
    assert (found.media_type, found.width, found.height) == (media_type, 24, 16)


def test_only_the_first_picture_of_a_jpeg_counts() -> None:
    file = BytesIO()
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(file, "MPO", save_all=True, append_images=frames[1:])
    assert check_picture(file.getvalue(), max_bytes=LIMIT).media_type == "image/jpeg"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(kind: str) -> None:
    assert reason_of(picture(kind)) == "REFERENCE_NOT_AN_IMAGE"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"RIFF\x04\x00\x00\x00WEBP",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<html>not found</html>",
        b"\x80\x04\x95",
        b"\x00\x00\x00\x18ftypmp42" + b"\0" * 100,
        b"%!PS-Adobe-3.0",
    ],
)
def test_what_is_no_picture_is_refused(data: bytes) -> None:
    assert reason_of(data) == "REFERENCE_NOT_AN_IMAGE"


def test_a_false_beginning_does_not_help() -> None:
    assert reason_of(b"\x89PNG\r\n\x1a\n" + picture("JPEG")) == "REFERENCE_NOT_AN_IMAGE"
    assert reason_of(b"\xff\xd8\xff" + picture("PNG")) == "REFERENCE_NOT_AN_IMAGE"


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_moving_pictures_are_refused(kind: str) -> None:
    assert reason_of(moving(kind)) == "REFERENCE_NOT_AN_IMAGE"


def test_too_many_bytes_are_refused_before_anything_else() -> None:
    assert reason_of(b"\0" * (LIMIT + 1)) == "REFERENCE_TOO_LARGE"


@pytest.mark.parametrize(
    "size", [(8001, 8000), (30_000, 30_000), (12_000, 12_000), (2**31 - 1, 2**31 - 1)]
)
def test_too_many_pixels_are_refused_before_decoding(size: tuple[int, int]) -> None:
    data = huge_png(*size)
    assert len(data) < 200
    assert reason_of(data) == "REFERENCE_TOO_LARGE"


def test_exactly_as_many_pixels_as_allowed_pass() -> None:
    data = picture("PNG", (20, 10))
    assert check_picture(data, max_bytes=LIMIT, max_pixels=200).width == 20
    assert reason_of(data, max_pixels=199) == "REFERENCE_TOO_LARGE"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_picture_cut_short_is_refused(kind: str) -> None:
    data = picture(kind, (64, 64))
    for part in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert reason_of(data[: int(len(data) * part)]) == "REFERENCE_NOT_AN_IMAGE"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_a_damaged_picture_passes_or_is_refused_and_nothing_else(kind: str) -> None:
    data = picture(kind)
    chance = random.Random(7)
    outcomes: set[str] = set()
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 8)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        try:
            outcomes.add(check_picture(bytes(damaged), max_bytes=LIMIT).media_type)
        except BadReference as error:
            outcomes.add(error.reason)
    assert outcomes <= {
        f"image/{kind.lower()}",
        "REFERENCE_NOT_AN_IMAGE",
        "REFERENCE_TOO_LARGE",
    }
    assert "REFERENCE_NOT_AN_IMAGE" in outcomes


def test_sniffing_reads_the_first_bytes_alone() -> None:
    assert [sniff(picture(kind)) for kind in ("PNG", "JPEG", "WEBP", "GIF")] == [
        "PNG",
        "JPEG",
        "WEBP",
        None,
    ]
