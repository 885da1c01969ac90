"""The chances of drawn tokens and of the likeliest beside them."""

import math

import pytest
import torch

from ourvidz_worker.engines.text.chances import with_chances


def test_each_row_has_its_own_and_as_many_as_it_asked_for() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(9.0), 0.0]])
    plain, full = with_chances(logits, [0, 1], [0, 2])
    assert (plain.id, plain.top) == (0, ())
    assert plain.logprob == pytest.approx(math.log(0.25))
    assert full.logprob == pytest.approx(math.log(0.1))
    assert [token for token, _ in full.top] == [0, 1]
    assert [chance for _, chance in full.top] == pytest.approx([math.log(0.9), math.log(0.1)])


def test_half_precision_is_widened_first() -> None:
    logits = torch.linspace(-3, 3, 50).bfloat16()[None]
    (token,) = with_chances(logits, [49], [20])
    assert token.logprob == token.top[0][1]
    assert sum(math.exp(chance) for _, chance in token.top) < 1
