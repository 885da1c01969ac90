"""What the library itself writes behind ids, with nothing of a model's own configuration."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig

_CONFIG: Any = GenerationConfig


class Library:
    """A model as the library loads it, in single precision on the CPU."""

    def __init__(self, folder: Path) -> None:
        loader: Any = AutoModelForCausalLM
        self._model = loader.from_pretrained(folder, dtype=torch.float32).eval()

    def greedy(self, ids: Sequence[int], *, max_tokens: int, ends: Sequence[int]) -> list[int]:
        """The likeliest token again and again, up to an end, which is left out."""
        given = torch.tensor([list(ids)])
        config = _CONFIG(
            do_sample=False,
            max_new_tokens=max_tokens,
            eos_token_id=list(ends),
            pad_token_id=ends[0],
        )
        self._model.generation_config = config
        with torch.inference_mode():
            out = self._model.generate(
                given, attention_mask=torch.ones_like(given), generation_config=config
            )
        written: list[int] = out[0, given.shape[1] :].tolist()
        return written[:-1] if written and written[-1] in ends else written
