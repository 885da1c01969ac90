"""Between our words and vLLM's: what a text is asked with, and what comes out of a step.

vLLM draws as `engines.chat_sampling` does: repetition acts on every token of prompt and text
(positive scores are divided, negative ones multiplied), frequency and presence on the text alone,
then temperature, top-k and top-p narrow what is left. Where it differs: it computes in single
precision, its random numbers are its own, and it raises a temperature below 0.01 to 0.01, which
is refused here instead.
"""

from collections.abc import Collection
from typing import Any

from ourvidz_worker.domain.errors import AttemptError, RequestError
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.text.base import Token, Tokens

Foreign = Any
"""An object of vLLM, which is no part of a development machine."""

LOWEST_TEMPERATURE = 0.01
"""vLLM's `_MAX_TEMP`: what lies between it and nought it would raise without a word."""

SCORES_LOST = "The text broke off inside the engine; try again."


def sampling_arguments(sampling: Sampling, seed: int, ends: Collection[int]) -> dict[str, Any]:
    """The arguments of `vllm.SamplingParams`; every one that changes a draw is set (T-1).

    Raises `RequestError` for a temperature that vLLM would change.
    """
    if 0 < sampling.temperature < LOWEST_TEMPERATURE:
        raise RequestError(
            f"temperature must be 0 or at least {LOWEST_TEMPERATURE}.", field="temperature"
        )
    return {
        "n": 1,
        "max_tokens": sampling.max_tokens,
        "min_tokens": 0,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "min_p": 0.0,
        "frequency_penalty": sampling.frequency_penalty,
        "presence_penalty": sampling.presence_penalty,
        "repetition_penalty": sampling.repetition_penalty,
        "seed": seed,
        # The ends are ours, told by id; vLLM has no tokenizer and must know none of its own.
        "ignore_eos": True,
        "stop_token_ids": sorted(ends),
        "logprobs": sampling.logprobs,
        "detokenize": False,
    }


def tokens_of(output: Foreign, asked: int | None) -> Tokens:
    """What one `RequestOutput` brings; `asked` is the request's `logprobs`.

    Raises `AttemptError` for a text that vLLM gave up.
    """
    (one,) = output.outputs
    reason = one.finish_reason
    if reason not in (None, "stop", "length"):
        raise AttemptError(SCORES_LOST, reason=reason)
    ids = list(one.token_ids)
    if reason == "stop":
        ids.pop()  # the end itself, which is no part of the text
    rows = list(one.logprobs or ())[: len(ids)]
    if asked is None:
        tokens = tuple(Token(id=each) for each in ids)
    else:
        tokens = tuple(_with_chances(*each, asked) for each in zip(ids, rows, strict=True))
    return Tokens(tokens=tokens, finish=reason, cached=output.num_cached_tokens or 0)


def _with_chances(token: int, row: Foreign, asked: int) -> Token:
    """`row` maps ids to objects with `logprob` and `rank`: the likeliest, and the drawn one."""
    ranked = sorted((each.rank, id_, each.logprob) for id_, each in row.items())
    top = tuple((id_, logprob) for _, id_, logprob in ranked[:asked])
    return Token(id=token, logprob=row[token].logprob, top=top)
