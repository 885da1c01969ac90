"""What a run needs to go on after it was cut off: half-precision tensors in files that travel.

A state is a folder of safetensors files of at most `PART_BYTES` each, the facts about it (words
and numbers as text) in every header. It is replaced as a whole, so it can be read at any time.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

PART_BYTES = 14_500_000
_PATTERN = "part-*.safetensors"


def save_parts(folder: Path, tensors: dict[str, Tensor], facts: dict[str, str]) -> None:
    """Write the tensors in fp16, replacing what stood there."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for index, part in enumerate(_split(tensors)):
        save_file(part, partial / f"part-{index}.safetensors", metadata=facts)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def load_parts(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors, in fp32, and the facts that `save_parts` wrote."""
    tensors: dict[str, Tensor] = {}
    facts: dict[str, str] = {}
    for path in sorted(folder.glob(_PATTERN)):
        with safe_open(path, framework="pt") as stream:
            facts = dict(stream.metadata() or {})
            for name in stream.keys():  # noqa: SIM118 - no mapping
                tensors[name] = stream.get_tensor(name).float()
    return tensors, facts


def is_saved(folder: Path) -> bool:
    """Return whether a state stands there."""
    return any(folder.glob(_PATTERN))


def _split(tensors: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    parts: list[dict[str, Tensor]] = [{}]
    size = 0
    for name, tensor in tensors.items():
        half = tensor.detach().to(device="cpu", dtype=torch.float16).contiguous()
        if size + half.nbytes > PART_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][name] = half.clone()
        size += half.nbytes
    return parts


def indexed(prefix: str, tensors: list[Tensor]) -> dict[str, Tensor]:
    """Name tensors by their place."""
    return {f"{prefix}.{index}": tensor for index, tensor in enumerate(tensors)}


@torch.no_grad()
def restore(prefix: str, tensors: list[Tensor], saved: dict[str, Tensor]) -> None:
    """Write what `indexed` named back into tensors of the same shapes, in the same order."""
    for index, tensor in enumerate(tensors):
        tensor.copy_(saved[f"{prefix}.{index}"])
