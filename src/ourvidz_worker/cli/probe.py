"""Tries one heavy library in a process of its own: `python -m ourvidz_worker.cli.probe NAME`.

Prints one line of fact and exits 0, or fails. The command line itself never loads these.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def torch_device() -> str:
    """The version of torch and the device it would use."""
    torch = import_module("torch")
    if not torch.cuda.is_available():
        return f"torch {torch.__version__}, cpu"
    return f"torch {torch.__version__}, {torch.cuda.get_device_name(0)}"


def png_encoder() -> str:
    """Encodes one pixel."""
    encoder = import_module("fpng_py")
    size = len(encoder.fpng_encode_image_to_memory(b"\0\0\0", 1, 1, 3))
    return f"a pixel became {size} bytes"


def video_encoder() -> str:
    """Opens the H.264 encoder that PyAV carries."""
    av = import_module("av")
    codec = av.codec.Codec("libx264", "w")
    return f"PyAV {av.__version__}, {codec.long_name}"


PROBES: Mapping[str, Callable[[], str]] = {
    "torch": torch_device,
    "png": png_encoder,
    "video": video_encoder,
}

if __name__ == "__main__":
    print(PROBES[sys.argv[1]]())
