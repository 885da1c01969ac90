"""Reference pictures: opened, made upright and opaque, brought to the size asked (I-3)."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.engines.encode import Pixels

Policy = Literal["center_crop", "letterbox", "stretch"]
"""How a picture of another aspect is brought to size."""

WHITE = (255, 255, 255)
_DEEP_MODES = ("I;16", "I;16L", "I;16B", "I;16N")
_DEEP_TO_BYTE = 257


def read_reference(path: Path, width: int, height: int, policy: Policy = "center_crop") -> Pixels:
    """A reference as pixels `height x width x 3`; the file is never changed.

    Raises `BadReference` when it cannot be decoded.
    """
    try:
        with Image.open(path) as picture:
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            ready = resize(opaque(upright), width, height, policy)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise BadReference(reason="REFERENCE_NOT_AN_IMAGE", field="reference") from error
    return np.asarray(ready, dtype=np.uint8)


def opaque(picture: Image.Image) -> Image.Image:
    """The picture in RGB, whatever is transparent laid over white."""
    if picture.mode in _DEEP_MODES:
        picture = Image.fromarray((np.asarray(picture) // _DEEP_TO_BYTE).astype(np.uint8))
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        ground = Image.new("RGBA", layer.size, (*WHITE, 255))
        return Image.alpha_composite(ground, layer).convert("RGB")
    return picture.convert("RGB")


def resize(picture: Image.Image, width: int, height: int, policy: Policy) -> Image.Image:
    """The picture at exactly `width x height`, scaled with LANCZOS.

    `center_crop` covers and crops, `letterbox` fits and fills with white, `stretch` distorts.
    """
    if policy == "stretch":
        return _scaled(picture, width, height)
    ratios = (width / picture.width, height / picture.height)
    scale = max(ratios) if policy == "center_crop" else min(ratios)
    inner = (round(picture.width * scale), round(picture.height * scale))
    if policy == "center_crop":
        covered = _scaled(picture, max(inner[0], width), max(inner[1], height))
        left, top = (covered.width - width) // 2, (covered.height - height) // 2
        return covered.crop((left, top, left + width, top + height))
    fitted = _scaled(picture, max(1, min(inner[0], width)), max(1, min(inner[1], height)))
    canvas = Image.new("RGB", (width, height), WHITE)
    canvas.paste(fitted, ((width - fitted.width) // 2, (height - fitted.height) // 2))
    return canvas


def _scaled(picture: Image.Image, width: int, height: int) -> Image.Image:
    if picture.size == (width, height):
        return picture
    return picture.resize((width, height), Image.Resampling.LANCZOS)
