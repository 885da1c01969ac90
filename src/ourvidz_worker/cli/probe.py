"""Tries one heavy library in a process of its own: `python -m ourvidz_worker.cli.probe NAME`.

Prints one line of fact and exits 0, or fails. The command line itself never loads these.
"""

import json
import sys
from collections.abc import Callable, Mapping
from importlib import import_module


def torch_device() -> str:
    """As JSON: torch's version, the CUDA it was built for, and the cards with their bytes."""
    torch = import_module("torch")
    found = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    memory = [torch.cuda.mem_get_info(number) for number in found]
    cards = [
        {"name": torch.cuda.get_device_name(number), "free": free, "total": total}
        for number, (free, total) in zip(found, memory, strict=True)
    ]
    facts = {"version": torch.__version__, "cuda": torch.version.cuda, "cards": cards}
    return json.dumps(facts)


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
