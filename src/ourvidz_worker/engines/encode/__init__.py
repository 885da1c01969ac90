"""Files of pictures and clips, made on the CPU from numpy arrays; for the engines alone."""

from ourvidz_worker.engines.encode.measure import (
    Kept,
    keep_clip,
    keep_picture,
    measure_clip,
    measure_picture,
    measure_text,
)
from ourvidz_worker.engines.encode.mp4 import FPS, VideoFacts, verify_mp4, write_mp4
from ourvidz_worker.engines.encode.pixels import Pixels
from ourvidz_worker.engines.encode.png import png_encoder, write_png
from ourvidz_worker.engines.encode.webp import write_thumbnail

__all__ = [
    "FPS",
    "Kept",
    "Pixels",
    "VideoFacts",
    "keep_clip",
    "keep_picture",
    "measure_clip",
    "measure_picture",
    "measure_text",
    "png_encoder",
    "verify_mp4",
    "write_mp4",
    "write_png",
    "write_thumbnail",
]
