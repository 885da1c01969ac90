"""How the next token is drawn: the contract's table and nothing of a model's own (T-1)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.tensors import FAULT


class Sampler:
    """Draws one text's tokens, with a generator of its own.

    Penalties act on the raw logits: repetition (on every token of prompt and text) divides
    positive and multiplies negative logits, as Keskar et al. 2019 (CTRL) do; frequency and
    presence (on the text alone) are subtracted per count and once. Then temperature, top-k and
    top-p narrow the distribution, in this order.
    """

    def __init__(
        self, sampling: Sampling, seed: int, prompt: Sequence[int], vocabulary: int
    ) -> None:
        """`vocabulary` is the width of the logits that will come."""
        self._sampling = sampling
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._counts = torch.zeros(vocabulary)
        self._seen = torch.zeros(vocabulary, dtype=torch.bool)
        self._seen[torch.tensor(list(prompt), dtype=torch.long)] = True

    def draw(self, logits: Tensor) -> int:
        """The next token for logits `[V]`. Raises `AttemptError` when they are no numbers."""
        scores = logits.detach().to(device="cpu", dtype=torch.float32)
        if bool(scores.isnan().any()) or not bool(scores.isfinite().any()):
            raise AttemptError(FAULT)
        token = self._choose(self._penalised(scores))
        self._counts[token] += 1
        self._seen[token] = True
        return token

    def _penalised(self, scores: Tensor) -> Tensor:
        asked = self._sampling
        if asked.repetition_penalty != 1.0:
            lowered = torch.where(
                scores > 0, scores / asked.repetition_penalty, scores * asked.repetition_penalty
            )
            scores = torch.where(self._seen, lowered, scores)
        if asked.frequency_penalty or asked.presence_penalty:
            present = (self._counts > 0).float()
            scores = scores - asked.frequency_penalty * self._counts
            scores = scores - asked.presence_penalty * present
        return scores

    def _choose(self, scores: Tensor) -> int:
        asked = self._sampling
        if asked.temperature == 0:
            return int(scores.argmax())
        # In double precision: a tiny temperature would leave the range of single precision.
        ordered, tokens = (scores.double() / asked.temperature).sort(descending=True, stable=True)
        if asked.top_k:
            ordered, tokens = ordered[: asked.top_k], tokens[: asked.top_k]
        chances = (ordered - ordered[0]).softmax(dim=0)
        if asked.top_p < 1:
            before = chances.cumsum(dim=0) - chances
            chances = chances * (before < asked.top_p)
        index = torch.multinomial(chances, 1, generator=self._generator)
        return int(tokens[index])
