"""What a small model was made for, and the open mapping of a request to it.

A model folder may carry `ourvidz.json`:
`{"name": "...", "native": {"sizes": [[w, h], ...], "frames": [17], "max_prompt_tokens": 64}}`.
Without that file every request is executed exactly as asked.
"""

import math
from pathlib import Path

import msgspec

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.domain.receipt import Difference

FILE_NAME = "ourvidz.json"
REASON = "native to the model"
"""The reason that a receipt gives for every mapped parameter."""


class Native(msgspec.Struct, frozen=True, kw_only=True):
    """The sizes (width, height) and frame counts a model knows; empty means any.

    `max_prompt_tokens` is the length to which text is padded where it fits; 0 means the
    architecture's own.
    """

    sizes: tuple[tuple[int, int], ...] = ()
    frames: tuple[int, ...] = ()
    max_prompt_tokens: int = 0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The content of `ourvidz.json`; keys it does not know are left alone."""

    name: str = ""
    native: Native = Native()


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """Pixels and frames that will be executed, and how they differ from those asked."""

    width: int
    height: int
    frames: int = 1
    differences: tuple[Difference, ...] = ()


def read_profile(model: Path) -> Profile:
    """The profile of a model folder (or of a file's folder). Raises `ModelLoadFailed`."""
    file = (model if model.is_dir() else model.parent) / FILE_NAME
    if not file.is_file():
        return Profile()
    try:
        return msgspec.json.decode(file.read_bytes(), type=Profile)
    except (msgspec.DecodeError, OSError) as error:
        raise ModelLoadFailed(
            f"The model's {FILE_NAME} cannot be read; correct it.", path=str(file)
        ) from error


def fit_shape(native: Native, width: int, height: int, frames: int = 1) -> Shape:
    """The native shape nearest to the one asked: by aspect, then by area; one frame stays one."""
    size = min(native.sizes, key=lambda known: _distance(known, (width, height)), default=None)
    size = size or (width, height)
    count = _nearest_count(native.frames, frames)
    differences = []
    if size != (width, height):
        differences.append(_difference("size", f"{width}x{height}", f"{size[0]}x{size[1]}"))
    if count != frames:
        differences.append(_difference("frames", str(frames), str(count)))
    return Shape(width=size[0], height=size[1], frames=count, differences=tuple(differences))


def _distance(known: tuple[int, int], asked: tuple[int, int]) -> tuple[float, float]:
    aspect = abs(math.log(known[0] / known[1]) - math.log(asked[0] / asked[1]))
    area = abs(math.log(known[0] * known[1]) - math.log(asked[0] * asked[1]))
    return (round(aspect, 9), area)


def _nearest_count(known: tuple[int, ...], asked: int) -> int:
    if asked == 1 or not known:
        return asked
    return min(known, key=lambda count: abs(count - asked))


def _difference(parameter: str, requested: str, effective: str) -> Difference:
    return Difference(parameter=parameter, requested=requested, effective=effective, reason=REASON)
