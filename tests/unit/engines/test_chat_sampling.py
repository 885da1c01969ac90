"""Tokens are drawn by the contract's table alone."""

import math
from collections import Counter
from itertools import accumulate

import pytest
import torch
from tests.unit.engines.engine_bench import Loose
from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.chat_sampling import LIKELIEST, Sampler, draw_all

LOGITS = torch.tensor([3.0, 2.0, 1.0, -1.0])


def sampler(*, seed: int = 1, prompt: tuple[int, ...] = (), **asked: Loose) -> Sampler:
    plain: dict[str, Loose] = {"temperature": 1.0, "top_p": 1.0}
    return Sampler(Sampling(**plain | asked), seed, prompt, len(LOGITS))


def drawn(logits: Tensor = LOGITS, count: int = 400, **asked: Loose) -> Counter[int]:
    # Each draw from a fresh sampler: its penalties must not depend on earlier draws.
    return Counter(sampler(seed=seed, **asked).draw(logits) for seed in range(count))


def test_temperature_0_is_greedy_and_never_an_error() -> None:
    assert drawn(temperature=0.0) == {0: 400}
    assert drawn(temperature=1e-9, count=20) == {0: 20}


def test_equal_seeds_draw_equal_tokens() -> None:
    one, two = sampler(seed=5), sampler(seed=5)
    assert [one.draw(LOGITS) for _ in range(50)] == [two.draw(LOGITS) for _ in range(50)]
    assert len(drawn()) == 4


def test_frequencies_follow_the_distribution() -> None:
    counts = drawn(count=2000)
    for token, chance in enumerate(LOGITS.softmax(0)):
        assert counts[token] / 2000 == pytest.approx(float(chance), abs=0.04)


def test_top_k_and_top_p_cut_the_tail() -> None:
    assert set(drawn(top_k=2)) == {0, 1}
    # Chances are 0.66, 0.24, 0.09, 0.01: the first two are the smallest set that reaches 0.8.
    assert set(drawn(top_p=0.8)) == {0, 1}
    assert set(drawn(top_p=0.1)) == {0}
    assert set(drawn(top_k=1, top_p=0.5)) == {0}


def test_repetition_lowers_what_was_said_or_asked() -> None:
    asked = sampler(temperature=0.0, prompt=(0,), repetition_penalty=2.0)
    assert asked.draw(LOGITS) == 1
    assert asked.draw(LOGITS) == 0, "3 / 2 beats 2 / 2"
    negative = torch.tensor([-1.0, -1.5, -9.0, -9.0])
    assert sampler(temperature=0.0, prompt=(0,), repetition_penalty=2.0).draw(negative) == 1


def test_frequency_counts_and_presence_does_not() -> None:
    frequent = sampler(temperature=0.0, frequency_penalty=0.6)
    assert [frequent.draw(LOGITS) for _ in range(4)] == [0, 0, 1, 0]
    present = sampler(temperature=0.0, presence_penalty=1.5)
    assert [present.draw(LOGITS) for _ in range(4)] == [0, 1, 0, 0]
    assert sampler(temperature=0.0, prompt=(0,), presence_penalty=2.0).draw(LOGITS) == 0


@pytest.mark.parametrize("bad", [float("nan"), float("-inf")])
def test_logits_that_are_no_numbers_are_a_fault(bad: float) -> None:
    with pytest.raises(AttemptError):
        sampler().draw(torch.full((4,), bad))
    with pytest.raises(AttemptError):
        sampler().draw(torch.tensor([1.0, float("nan"), 0.0, 0.0]))


def test_half_precision_logits_are_widened() -> None:
    assert sampler(temperature=0.0).draw(LOGITS.bfloat16()) == 0


WIDE = 6000
"""A vocabulary of which the likeliest are but a part."""

RULES: tuple[dict[str, Loose], ...] = (
    {"temperature": 0.0},
    {"temperature": 1.0, "top_p": 1.0},
    {"temperature": 0.7, "top_p": 0.9},
    {"temperature": 1.3, "top_p": 0.99, "top_k": 300},
    {"temperature": 2.0, "top_p": 0.5, "frequency_penalty": 0.5, "repetition_penalty": 1.3},
    {"temperature": 0.9, "top_k": 7, "presence_penalty": -1.0},
)


def wide_logits(rows: int, *, flat: float) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    # Rounded, so that there are many equals to keep in order.
    return (torch.randn(rows, WIDE, generator=generator) / flat).round(decimals=1)


def by_hand(sampler: Sampler, logits: Tensor) -> int:
    """A draw in plain steps, every token in order."""
    asked = sampler.rules
    scores = sampler.penalise(logits).double().tolist()
    order = sorted(range(len(scores)), key=lambda token: (-scores[token], token))
    if asked.temperature == 0:
        return order[0]
    weights = [math.exp((scores[token] - scores[order[0]]) / asked.temperature) for token in order]
    if asked.top_k:
        weights = weights[: asked.top_k]
    mass, before, kept = sum(weights), 0.0, []
    for weight in weights:
        if asked.top_p < 1 and before / mass >= asked.top_p:
            break
        kept.append(weight)
        before += weight
    target = sampler.chance() * sum(kept)
    for token, total in zip(order, accumulate(kept), strict=False):
        if total > target:
            return token
    raise AssertionError("no token left")


@pytest.mark.parametrize("rules", RULES, ids=str)
@pytest.mark.parametrize("flat", [0.3, 20.0], ids=["sharp", "flat"])
def test_a_draw_is_that_of_the_plain_steps(rules: dict[str, Loose], flat: float) -> None:
    prompt = (5, 6, 7)
    ours, plain = (Sampler(Sampling(**rules), 9, prompt, WIDE) for _ in range(2))
    furthest = 0
    for logits in wide_logits(40, flat=flat):
        expected = by_hand(plain, logits)
        plain.note(expected)
        assert ours.draw(logits) == expected
        furthest = max(furthest, int((logits > logits[expected]).sum()))
    if flat > 1 and not rules.get("top_k") and rules["temperature"]:
        step = LIKELIEST[1] if rules["top_p"] == 1.0 else LIKELIEST[0]
        assert furthest >= step, "the likeliest alone were always enough"


def test_many_texts_draw_as_each_would_alone() -> None:
    logits = wide_logits(4 * len(RULES), flat=2.0)
    alone = [Sampler(Sampling(**RULES[i % 6]), i, (1,), WIDE) for i in range(len(logits))]
    crowd = [Sampler(Sampling(**RULES[i % 6]), i, (1,), WIDE) for i in range(len(logits))]
    for _ in range(5):
        expected = [each.draw(row) for each, row in zip(alone, logits, strict=True)]
        drawn = draw_all(crowd, logits)
        assert drawn == draw_all(crowd, logits) == expected, "drawing again changes nothing"
        for sampler, token in zip(crowd, expected, strict=True):
            sampler.note(token)


def test_one_texts_broken_numbers_are_its_own_fault() -> None:
    logits = wide_logits(3, flat=1.0)
    logits[1, 4] = float("nan")
    samplers = [Sampler(Sampling(), seed, (), WIDE) for seed in range(3)]
    first, second, third = draw_all(samplers, logits)
    assert isinstance(second, AttemptError)
    fresh = Sampler(Sampling(), 2, (), WIDE)
    assert (isinstance(first, int), third) == (True, fresh.draw(logits[2]))
