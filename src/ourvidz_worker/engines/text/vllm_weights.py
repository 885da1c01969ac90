"""How many bytes a model's weights take on the card, without loading them."""

import math
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.device import DTYPES, Foreign, foreign_errors
from ourvidz_worker.engines.weights import read_header


def weights_bytes(folder: Path, dtype: str, *, from_files: bool = True) -> int:
    """The sum over all tensors at `dtype`; without files, of the architecture alone.

    Raises `ModelLoadFailed`.
    """
    item_bytes = DTYPES[dtype].itemsize
    if from_files:
        files = sorted(folder.glob("*.safetensors"))
        entries = (entry for file in files for entry in read_header(file).values())
        return item_bytes * sum(math.prod(entry.shape) for entry in entries)
    with foreign_errors(ModelLoadFailed), torch.device("meta"):
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        module: Foreign = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    return item_bytes * sum(int(each.numel()) for each in module.parameters())
