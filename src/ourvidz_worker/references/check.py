"""Checking a picture before anything works on it: what it is, how large, and whether it is whole.

The file's own bytes decide, never a name or a header. Only the first picture of a JPEG counts
(phones append others); a moving PNG or WEBP is refused.
"""

import struct
import zlib
from io import BytesIO
from typing import Literal

import msgspec
from PIL import Image

from ourvidz_worker.domain.errors import BadReference

MAX_PIXELS = 64_000_000
"""R-2: 64 MP, checked on the header before a pixel is decoded."""

MEDIA_TYPES: dict[str, Literal["image/png", "image/jpeg", "image/webp"]] = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "WEBP": "image/webp",
}

#: What Pillow's three decoders raise on broken files; found by cutting and flipping real ones.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    OverflowError,
    struct.error,
    zlib.error,
)


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """What a checked picture is; sides in pixels, before any rotation that its EXIF asks for."""

    media_type: Literal["image/png", "image/jpeg", "image/webp"]
    width: int
    height: int


def check_picture(data: bytes, *, max_bytes: int, max_pixels: int = MAX_PIXELS) -> Picture:
    """Decode `data` whole and say what it is. Raises `BadReference`; slow, so call it in a thread.

    Reasons: `REFERENCE_TOO_LARGE` for bytes or pixels, `REFERENCE_NOT_AN_IMAGE` for the rest.
    """
    if len(data) > max_bytes:
        raise BadReference(reason="REFERENCE_TOO_LARGE")
    kind = sniff(data)
    if kind is None:
        raise BadReference(reason="REFERENCE_NOT_AN_IMAGE")
    try:
        with Image.open(BytesIO(data), formats=(kind,)) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BadReference(reason="REFERENCE_TOO_LARGE")
            if kind != "JPEG" and getattr(image, "n_frames", 1) != 1:
                raise BadReference(reason="REFERENCE_NOT_AN_IMAGE")
            image.load()
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise BadReference(reason="REFERENCE_TOO_LARGE") from error
    except BROKEN as error:
        raise BadReference(reason="REFERENCE_NOT_AN_IMAGE") from error
    return Picture(media_type=MEDIA_TYPES[kind], width=width, height=height)


def sniff(data: bytes) -> Literal["PNG", "JPEG", "WEBP"] | None:
    """The format that the first bytes announce, or None."""
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return "PNG"
    if data.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None
