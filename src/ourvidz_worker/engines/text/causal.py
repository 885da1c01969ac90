"""A causal language model of transformers that computes many texts in one pass."""

import inspect
from collections.abc import Sequence

import psutil
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from ourvidz_worker.domain.errors import ModelLoadFailed, OutOfMemory
from ourvidz_worker.engines.caches import give_back_caches
from ourvidz_worker.engines.device import (
    Compute,
    Foreign,
    foreign_errors,
    open_device,
    size_bytes,
)
from ourvidz_worker.engines.text.packed import (
    Attention,
    Outline,
    Packed,
    Span,
    use_packed_attention,
)
from ourvidz_worker.engines.text.past import PastShape
from ourvidz_worker.engines.text.settings import TextSettings
from ourvidz_worker.engines.weights import load_component

PROBE = (1, 2, 3)
"""The ids of the first pass; any will do."""


class CausalModel:
    """The weights, and passes over them. `vocabulary` is the width of its logits."""

    def __init__(self, module: Foreign, compute: Compute) -> None:
        """Raises `ModelLoadFailed` for an architecture that cannot compute many texts at once."""
        self._module = module
        self._compute = compute
        known = inspect.signature(module.forward).parameters
        self._picks_rows = "logits_to_keep" in known
        self.weights_bytes = size_bytes(module)
        self.host_bytes = 0
        with foreign_errors(ModelLoadFailed), torch.inference_mode():
            use_packed_attention(module)
            outline = Outline()
            logits = self._pass(PROBE, range(len(PROBE)), [len(PROBE) - 1], outline)
            self.shape: PastShape = outline.shape()
        self.vocabulary = logits.shape[1]

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return self._compute.device

    def free_bytes(self) -> int:
        """The memory that nobody uses where it computes."""
        if self.device.type == "cuda":
            return torch.cuda.mem_get_info(self.device)[0]
        return int(psutil.virtual_memory().available)

    def run(self, spans: Sequence[Span]) -> Tensor:
        """Compute the spans; for each, the logits `[S, V]` for the token after its last.

        Their pasts then hold what was computed, but their lengths are the caller's to move on.
        """
        ids = [token for span in spans for token in span.ids]
        places = [
            place
            for span in spans
            for place in range(span.past.length, span.past.length + len(span.ids))
        ]
        lasts, end = [], -1
        for span in spans:
            end += len(span.ids)
            lasts.append(end)
        return self._pass(ids, places, lasts, Packed(spans))

    def leave(self) -> None:
        """Move the weights into the host's memory; on a CPU they are there already."""
        if self.device.type == "cpu":
            return
        with foreign_errors():
            self._module.to("cpu")
        self.host_bytes = self.weights_bytes
        give_back_caches()

    def enter(self) -> None:
        """Move the weights back. Raises `OutOfMemory`; then they stay where they were."""
        if self.device.type == "cpu":
            return
        try:
            with foreign_errors():
                self._module.to(self.device)
        except OutOfMemory:
            self.leave()
            raise
        self.host_bytes = 0

    def _pass(
        self, ids: Sequence[int], places: Sequence[int], lasts: list[int], packed: Attention
    ) -> Tensor:
        # Logits of every token would take a prompt's length times the vocabulary.
        kept = {"logits_to_keep": self._row(lasts)} if self._picks_rows else {}
        result = self._module(
            input_ids=self._row(ids)[None],
            position_ids=self._row(places)[None],
            use_cache=False,
            packed=packed,
            **kept,
        )
        logits: Tensor = result.logits[0]
        return logits if self._picks_rows else logits[lasts]

    def _row(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(list(numbers), dtype=torch.long, device=self.device)


def load_causal(settings: TextSettings) -> CausalModel:
    """Load a model folder. Raises `ModelLoadFailed`, `OutOfMemory`, `ConfigError`."""
    compute = open_device(
        settings.device,
        settings.dtype,
        threads=settings.threads,
        memory_fraction=settings.memory_fraction,
    )
    return CausalModel(load_component(AutoModelForCausalLM, settings.model, compute), compute)
