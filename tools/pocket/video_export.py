"""Writing the video models as the folders that diffusers and transformers read, and bundles."""

from __future__ import annotations

import copy
import io
import shutil
import tarfile
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import WanVACEPipeline
from torch import nn
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from tools.pocket.video_flow import Models
from tools.pocket.video_sample import make_scheduler
from tools.pocket.video_types import WanVae

SHARD = "14MB"
_PART_BYTES = 15_000_000

Part = TypeVar("Part", bound=nn.Module)


def export_pipeline(
    models: Models, vae: WanVae, tokenizer: PreTrainedTokenizerBase, folder: Path
) -> None:
    """Write fp16 weights and configs into ``folder``, replacing what stood there."""
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    transformer = _half(models.transformer)
    build: Any = WanVACEPipeline
    pipeline = build(
        tokenizer=tokenizer,
        text_encoder=_half(models.text_encoder),
        vae=_half(vae),
        scheduler=make_scheduler("dpm++"),
        transformer=transformer,
    )
    pipeline.save_pretrained(partial, max_shard_size=SHARD)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def bundle(folder: Path, out: Path) -> list[Path]:
    """Pack a folder as a tar cut into parts of at most 15 MB; ``cat parts | tar x`` restores it."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(folder, arcname=folder.name)
    data = stream.getvalue()
    out.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, start in enumerate(range(0, len(data), _PART_BYTES)):
        path = out / f"{folder.name}.tar.{index}"
        partial = path.with_suffix(".partial")
        partial.write_bytes(data[start : start + _PART_BYTES])
        partial.replace(path)
        paths.append(path)
    return paths


def _half(part: Part) -> Part:
    twin: Any = copy.deepcopy(part).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # its stub lacks this form
    for module in twin.modules():
        module.__dict__.pop("forward", None)
    half: Part = twin.to(device="cpu", dtype=torch.float16)
    return half
