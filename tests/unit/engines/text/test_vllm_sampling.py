"""What vLLM is asked with, and what its outputs become."""

import math
from types import SimpleNamespace

import pytest

from ourvidz_worker.domain.errors import AttemptError, RequestError
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.text.base import Token, Tokens
from ourvidz_worker.engines.text.vllm_numbers import DOUBTFUL_RUN, Doubt, are_numbers
from ourvidz_worker.engines.text.vllm_sampling import (
    LOWEST_TEMPERATURE,
    Foreign,
    sampling_arguments,
    tokens_of,
)


def output(
    ids: list[int], *, finish: str | None = None, rows: list[Foreign] | None = None, cached: int = 0
) -> Foreign:
    """An output of one step, as vLLM documents it."""
    one = SimpleNamespace(token_ids=ids, finish_reason=finish, logprobs=rows)
    return SimpleNamespace(outputs=[one], num_cached_tokens=cached)


def chance(logprob: float, rank: int) -> Foreign:
    return SimpleNamespace(logprob=logprob, rank=rank)


def test_every_field_of_the_sampling_arrives_unchanged() -> None:
    asked = Sampling(
        max_tokens=7,
        temperature=1.3,
        top_p=0.5,
        top_k=9,
        frequency_penalty=0.25,
        presence_penalty=-0.5,
        repetition_penalty=1.1,
        logprobs=3,
    )
    told = sampling_arguments(asked, 11, {5, 2})
    for name in ("max_tokens", "temperature", "top_p", "top_k", "logprobs"):
        assert told[name] == getattr(asked, name)
    for name in ("frequency_penalty", "presence_penalty", "repetition_penalty"):
        assert told[name] == getattr(asked, name)
    assert told["seed"] == 11


def test_only_our_ends_end_a_text_and_nothing_else_narrows_the_draw() -> None:
    """T-1: vLLM's own defaults and a model's are both kept out."""
    told = sampling_arguments(Sampling(), 0, {5, 2})
    assert told["stop_token_ids"] == [2, 5]
    assert told["ignore_eos"] is True
    assert (told["n"], told["min_tokens"], told["min_p"]) == (1, 0, 0.0)
    assert told["detokenize"] is False
    assert "stop" not in told


@pytest.mark.parametrize("temperature", [0.0, LOWEST_TEMPERATURE, 2.0])
def test_a_temperature_that_vllm_keeps_is_passed_on(temperature: float) -> None:
    assert sampling_arguments(Sampling(temperature=temperature), 0, ())["temperature"] == (
        temperature
    )


def test_a_temperature_that_vllm_would_raise_is_refused() -> None:
    with pytest.raises(RequestError) as caught:
        sampling_arguments(Sampling(temperature=0.005), 0, ())
    assert caught.value.field == "temperature"


def test_a_step_brings_its_tokens() -> None:
    assert tokens_of(output([4, 5], cached=3), None) == Tokens(
        tokens=(Token(id=4), Token(id=5)), cached=3
    )


def test_the_token_that_ends_a_text_is_no_part_of_it() -> None:
    assert tokens_of(output([4, 2], finish="stop"), None) == Tokens(
        tokens=(Token(id=4),), finish="stop"
    )
    assert tokens_of(output([4, 2], finish="length"), None) == Tokens(
        tokens=(Token(id=4), Token(id=2)), finish="length"
    )


def test_chances_come_likeliest_first_beside_the_drawn_one() -> None:
    row = {9: chance(-4.0, 5), 1: chance(-0.5, 1), 3: chance(-1.5, 2)}
    (token,) = tokens_of(output([9], rows=[row]), 2).tokens
    assert token == Token(id=9, logprob=-4.0, top=((1, -0.5), (3, -1.5)))


def test_a_drawn_token_among_the_likeliest_is_told_once() -> None:
    row = {1: chance(-0.5, 1), 3: chance(-1.5, 2)}
    (token,) = tokens_of(output([3], rows=[row]), 2).tokens
    assert token == Token(id=3, logprob=-1.5, top=((1, -0.5), (3, -1.5)))


def test_asked_for_none_beside_it_the_drawn_token_tells_its_chance_alone() -> None:
    (token,) = tokens_of(output([1], rows=[{1: chance(-0.5, 1)}]), 0).tokens
    assert token == Token(id=1, logprob=-0.5)


def test_an_end_takes_its_chances_along() -> None:
    rows = [{1: chance(-0.5, 1)}, {2: chance(-0.1, 1)}]
    assert tokens_of(output([1, 2], finish="stop", rows=rows), 1).tokens == (
        Token(id=1, logprob=-0.5, top=((1, -0.5),)),
    )


@pytest.mark.parametrize("reason", ["abort", "error", "repetition"])
def test_a_text_that_vllm_gave_up_is_an_error(reason: str) -> None:
    with pytest.raises(AttemptError):
        tokens_of(output([1], finish=reason), None)


def test_doubt_rises_once_at_a_long_run_of_the_first_token() -> None:
    doubt = Doubt()
    zeros = [Token(id=0)] * (DOUBTFUL_RUN - 1)
    assert not doubt.rises(zeros)
    assert not doubt.rises([Token(id=7)])
    assert not doubt.rises(zeros)
    assert doubt.rises([Token(id=0)])
    assert not doubt.rises(zeros)


def test_a_chance_that_is_no_number_is_found() -> None:
    assert are_numbers([Token(id=0), Token(id=1, logprob=-math.inf)])
    assert not are_numbers([Token(id=1, logprob=-1.0), Token(id=0, logprob=math.nan)])
