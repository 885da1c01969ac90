"""Whether a safetensors file is whole, read from its header alone."""

import struct
from pathlib import Path
from typing import Any

import msgspec

LENGTH = struct.Struct("<Q")
MOST_HEADER = 100_000_000
"""The bound that the safetensors library itself sets."""


def damage(file: Path) -> str | None:
    """What is wrong with `file`, None when its header and its length fit together."""
    try:
        with file.open("rb") as stream:
            head = stream.read(LENGTH.size)
            if len(head) < LENGTH.size:
                return "too short"
            (length,) = LENGTH.unpack(head)
            if length > min(MOST_HEADER, file.stat().st_size - LENGTH.size):
                return "its header is longer than the file"
            header = msgspec.json.decode(stream.read(length), type=dict[str, Any])
    except OSError as error:
        return error.strerror or "cannot be read"
    except msgspec.MsgspecError:
        return "its header is not JSON"
    return _length_fault(header, file.stat().st_size - LENGTH.size - length)


def _length_fault(header: dict[str, Any], size: int) -> str | None:
    tensors = [entry for name, entry in header.items() if name != "__metadata__"]
    try:
        end = max((int(entry["data_offsets"][1]) for entry in tensors), default=0)
    except (TypeError, KeyError, IndexError, ValueError):
        return "its header lists no offsets"
    return None if end == size else f"{size} bytes of weights where its header lists {end}"
