"""Pictures in memory: arrays of 8-bit RGB, checked before a library in C sees them."""

import numpy as np
from numpy.typing import NDArray

from ourvidz_worker.domain.errors import AttemptError

Pixels = NDArray[np.uint8]
"""One picture (height, width, 3) or several (time, height, width, 3), RGB, 0..255."""

CHANNELS = 3
PICTURE, CLIP = 3, 4
"""How many axes a picture has, and a clip."""


def checked(pixels: Pixels, axes: int) -> Pixels:
    """The same pixels, contiguous in memory. Raises `AttemptError` for any other shape or type."""
    fits = pixels.dtype == np.uint8 and pixels.ndim == axes and pixels.shape[-1] == CHANNELS
    if not fits or pixels.size == 0:
        raise AttemptError(shape=pixels.shape, dtype=str(pixels.dtype))
    return np.ascontiguousarray(pixels)
