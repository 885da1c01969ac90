"""Thumbnails (U-2): WEBP, the longest edge 256 pixels, never larger than the picture itself."""

from pathlib import Path

from PIL import Image

from ourvidz_worker.domain.errors import AttemptError, ThumbnailFailed
from ourvidz_worker.engines.encode.pixels import PICTURE, Pixels, checked

LONGEST_EDGE = 256
QUALITY = 85


def write_thumbnail(path: Path, pixels: Pixels) -> None:
    """Write a small copy of one picture (height × width × 3). Raises `ThumbnailFailed`."""
    try:
        picture = Image.fromarray(checked(pixels, PICTURE))
        size = thumbnail_size(picture.width, picture.height)
        small = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
        small.save(path, format="WEBP", quality=QUALITY, method=4)
    except (OSError, ValueError, MemoryError, AttemptError) as error:
        raise ThumbnailFailed(cause=repr(error)) from error


def thumbnail_size(width: int, height: int) -> tuple[int, int]:
    """Width and height of the thumbnail: aspect kept, never upscaled, each side at least 1."""
    scale = min(1.0, LONGEST_EDGE / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))
