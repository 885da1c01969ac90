"""A batch over a tiny model, stepped by hand."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines import Tokens
from ourvidz_worker.engines.device import Compute
from ourvidz_worker.engines.text.batch import Batch
from ourvidz_worker.engines.text.causal import CausalModel
from ourvidz_worker.engines.text.stream import BufferedStream
from ourvidz_worker.engines.text.writing import Writing
from ourvidz_worker.testing.tiny_models import randomise

Loose = Any
"""A value whose type the libraries do not tell."""

VOCABULARY = 300
CPU = Compute(device=torch.device("cpu"), dtype=torch.float32, name="cpu")
SIZES: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}


def tiny_module(seed: int = 1) -> Loose:
    """A Llama of random weights."""
    module: Loose = LlamaForCausalLM(LlamaConfig(**SIZES))
    module.eval()
    randomise(module, seed)
    return module


class BatchBench:
    """Begins texts, steps, and reads what came."""

    def __init__(
        self,
        module: Loose = None,
        *,
        ends: Iterable[int] = (),
        prefill_tokens: int = 64,
        prefix_bytes: int = 1 << 20,
    ) -> None:
        self.model = CausalModel(tiny_module() if module is None else module, CPU)
        self.batch = Batch(
            self.model,
            ends=frozenset(ends),
            prefill_tokens=prefill_tokens,
            prefix_bytes=prefix_bytes,
        )

    def begin(self, ids: Sequence[int], *, seed: int = 0, **asked: Loose) -> Writing:
        """A greedy text of 8 tokens, unless asked otherwise."""
        sampling = Sampling(**{"max_tokens": 8, "temperature": 0.0, **asked})
        text = Writing(ids, sampling, seed, BufferedStream(lambda stream: None))
        self.batch.join(text)
        return text

    def step(self, count: int = 1) -> None:
        with torch.inference_mode():
            for _ in range(count):
                self.batch.step()

    def finish(self) -> None:
        """Step until no text runs."""
        for _ in range(10_000):
            if not self.batch.running:
                return
            self.step()
        raise AssertionError("the texts never end")

    def written(self, ids: Sequence[int], **asked: Loose) -> list[int]:
        """The ids of one text, run to its end."""
        text = self.begin(ids, **asked)
        self.finish()
        return drawn(text)


def drawn(text: Writing) -> list[int]:
    """What was drawn so far."""
    return text.ids[len(text.prompt) :]


def told(text: Writing) -> Tokens:
    """What a reader gets now."""
    return text.stream.read(0.0)


def by_library(module: Loose, ids: Sequence[int], count: int) -> list[int]:
    """The greedy text that the library's own loop writes."""
    row = torch.tensor([list(ids)])
    with torch.inference_mode():
        out = module.generate(
            row,
            attention_mask=torch.ones_like(row),
            do_sample=False,
            max_new_tokens=count,
            eos_token_id=None,
            pad_token_id=0,
        )
    found: list[int] = out[0, len(ids) :].tolist()
    return found
