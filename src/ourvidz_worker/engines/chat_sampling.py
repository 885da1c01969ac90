"""How the next token is drawn: the contract's table and nothing of a model's own (T-1).

Many texts draw at once, each with a generator of its own and by its own rules: what one draws does
not depend on the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.tensors import FAULT

LIKELIEST = (256, 4096, 1 << 30)
"""So many tokens are put in order, more only for texts that need them. For 64 texts over the 49,152
of SmolLM2 that takes 40, 110 and 510 ms on one core."""

CPU = torch.device("cpu")


class Sampler:
    """The rules of one text, its generator, and what it has drawn.

    Penalties act on the raw logits: repetition (on every token of prompt and text) divides
    positive and multiplies negative logits, as Keskar et al. 2019 (CTRL) do; frequency and
    presence (on the text alone) are subtracted per count and once. Then temperature, top-k and
    top-p narrow the distribution, in this order.
    """

    def __init__(
        self,
        sampling: Sampling,
        seed: int,
        prompt: Sequence[int],
        vocabulary: int,
        device: torch.device = CPU,
    ) -> None:
        """`vocabulary` is the width of the logits that will come, `device` where they lie."""
        self.rules = sampling
        self._generator = torch.Generator("cpu").manual_seed(seed)
        self._chance: float | None = None
        self._seen: Tensor | None = None
        self._counts: Tensor | None = None
        if sampling.repetition_penalty != 1.0:
            self._seen = torch.zeros(vocabulary, dtype=torch.bool, device=device)
            self._seen[torch.tensor(list(prompt), dtype=torch.long, device=device)] = True
        if sampling.frequency_penalty or sampling.presence_penalty:
            self._counts = torch.zeros(vocabulary, device=device)

    @property
    def penalises(self) -> bool:
        """True when earlier tokens change the scores."""
        return self._seen is not None or self._counts is not None

    def draw(self, logits: Tensor) -> int:
        """The next token for logits `[V]`. Raises `AttemptError` when they are no numbers."""
        (drawn,) = draw_all([self], logits[None])
        if isinstance(drawn, AttemptError):
            raise drawn
        self.note(drawn)
        return drawn

    def penalise(self, scores: Tensor) -> Tensor:
        """The scores `[V]` after the penalties."""
        asked = self.rules
        if self._seen is not None:
            lowered = torch.where(
                scores > 0, scores / asked.repetition_penalty, scores * asked.repetition_penalty
            )
            scores = torch.where(self._seen, lowered, scores)
        if self._counts is not None:
            present = (self._counts > 0).float()
            scores = scores - asked.frequency_penalty * self._counts
            scores = scores - asked.presence_penalty * present
        return scores

    def chance(self) -> float:
        """The random number of the next token, in 0..1 without 1; the same until it is noted."""
        if self._chance is None:
            self._chance = float(torch.rand((), generator=self._generator, dtype=torch.float64))
        return self._chance

    def note(self, token: int) -> None:
        """A token was drawn: the next one has another chance, and penalties count this one."""
        self._chance = None
        if self._seen is not None:
            self._seen[token] = True
        if self._counts is not None:
            self._counts[token] += 1


def draw_all(samplers: Sequence[Sampler], logits: Tensor) -> list[int | AttemptError]:
    """The next token of each text for its row of `[B, V]`, or the error that ends that text.

    Drawing again gives the same, until the tokens are noted.
    """
    scores = logits.detach().float()
    sound = scores.amax(dim=1).isfinite().tolist()
    if any(sampler.penalises for sampler in samplers):
        rows = [
            sampler.penalise(row) if sampler.penalises else row
            for sampler, row in zip(samplers, scores, strict=True)
        ]
        scores = torch.stack(rows)
    drawn: list[int | AttemptError] = [AttemptError(FAULT) for _ in samplers]
    greedy = [i for i, s in enumerate(samplers) if sound[i] and s.rules.temperature == 0]
    chosen = [i for i, s in enumerate(samplers) if sound[i] and s.rules.temperature > 0]
    tokens = scores[greedy].argmax(dim=1).tolist() if greedy else []
    if chosen:
        tokens += _choose([samplers[i] for i in chosen], scores[chosen])
    for index, token in zip(greedy + chosen, tokens, strict=True):
        drawn[index] = token
    return drawn


def _choose(samplers: Sequence[Sampler], scores: Tensor) -> list[int]:
    """One token for each row of scores, of those that its rules leave."""
    vocabulary = scores.shape[1]
    rules = _Rules.of(samplers, vocabulary, scores.device)
    found = [0] * len(samplers)
    rows = list(range(len(samplers)))
    for width in LIKELIEST:
        ordered = min(vocabulary, max(width, rules.largest_k))
        tokens, is_sure = _pick(scores[rows], rules.rows(rows), ordered)
        picked = zip(rows, tokens.tolist(), is_sure.tolist(), strict=True)
        unsure = []
        for row, token, sure in picked:
            found[row] = token
            if not sure:
                unsure.append(row)
        rows = unsure
        if not rows:
            break
    return found


@dataclass(frozen=True, kw_only=True)
class _Rules:
    """The rules of some texts as columns `[B, 1]`, and a random number for each.

    In double precision: a tiny temperature would leave the range of single precision.
    """

    temperature: Tensor
    top_k: Tensor
    top_p: Tensor
    chance: Tensor
    largest_k: int

    @classmethod
    def of(cls, samplers: Sequence[Sampler], vocabulary: int, device: torch.device) -> "_Rules":
        rules = [sampler.rules for sampler in samplers]
        ks = [each.top_k or vocabulary for each in rules]
        return cls(
            temperature=_column([each.temperature for each in rules], device),
            top_k=_column(ks, device).long().clamp(max=vocabulary),
            top_p=_column([each.top_p if each.top_p < 1 else 2.0 for each in rules], device),
            chance=_column([sampler.chance() for sampler in samplers], device),
            largest_k=max((k for k in ks if k < vocabulary), default=0),
        )

    def rows(self, rows: list[int]) -> "_Rules":
        return _Rules(
            temperature=self.temperature[rows],
            top_k=self.top_k[rows],
            top_p=self.top_p[rows],
            chance=self.chance[rows],
            largest_k=self.largest_k,
        )


def _pick(scores: Tensor, rules: _Rules, width: int) -> tuple[Tensor, Tensor]:
    """A token for each row, and whether the `width` likeliest were enough to tell it.

    Tokens stand in order, likeliest first, of equals the one with the lower id. The token drawn is
    the first whose chance, with those before it, exceeds the random part of what is kept.
    """
    vocabulary = scores.shape[1]
    ordered, tokens = _likeliest(scores, width)
    peak = ordered[:, :1]
    weights = ((ordered.double() - peak) / rules.temperature).exp()
    sums = weights.cumsum(dim=1)
    # In place: at 64 texts of a vocabulary of 152,000 each copy takes 78 MB.
    whole = scores.double().sub_(peak).div_(rules.temperature).exp_().sum(dim=1, keepdim=True)
    within = rules.top_k <= width
    cut = sums.gather(1, (rules.top_k - 1).clamp(max=width - 1))
    mass = torch.where(within & (rules.top_k < vocabulary), cut, whole)
    places = torch.arange(width, device=scores.device)
    kept = (weights > 0) & (places < rules.top_k) & ((sums - weights) / mass < rules.top_p)
    count = kept.sum(dim=1, keepdim=True)
    is_cut = rules.top_p < 1
    kept_mass = torch.where(is_cut, sums.gather(1, count - 1), mass)
    place = (sums <= rules.chance * kept_mass).sum(dim=1, keepdim=True)
    if width == vocabulary:
        is_sure = torch.ones_like(within)
    else:
        # Equals of the last one in order may have been left out, in favour of a higher id.
        is_above = ordered.gather(1, place.clamp(max=width - 1)) > ordered[:, -1:]
        is_sure = (place < count) & is_above & (within | ~is_cut | (count < width))
    picked = tokens.gather(1, torch.minimum(place, count - 1))
    return picked[:, 0], is_sure[:, 0]


def _likeliest(scores: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The highest `width` scores of each row in order, and their tokens."""
    if width == scores.shape[1]:
        return scores.sort(dim=1, descending=True, stable=True)
    values, tokens = scores.topk(width, dim=1)
    tokens, by_token = tokens.sort(dim=1)
    values, by_value = values.gather(1, by_token).sort(dim=1, descending=True, stable=True)
    return values, tokens.gather(1, by_value)


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float64, device=device)[:, None]
