"""Chances in both forms: every number can be told."""

import math

from ourvidz_worker.api.openai.chances import text_chances, token_chances
from ourvidz_worker.domain.text_reply import TokenChance, TokenChoice

CHOICES = (
    TokenChoice(
        token="é",
        logprob=-math.inf,
        bytes=(195, 169),
        top=(TokenChance(token="e", logprob=-0.5), TokenChance(token="e", logprob=-2.0)),
    ),
    TokenChoice(token=" x", logprob=-1.5),
)


def test_tokens_with_their_likeliest() -> None:
    first, second = token_chances(CHOICES).content
    assert (first.token, first.logprob, first.bytes) == ("é", -9999.0, (195, 169))
    assert [(each.token, each.logprob, each.bytes) for each in first.top_logprobs] == [
        ("e", -0.5, None),
        ("e", -2.0, None),
    ]
    assert second.top_logprobs == ()


def test_columns_count_characters_and_keep_the_likelier_of_two_alike() -> None:
    told = text_chances(CHOICES, 10)
    assert told.text_offset == (10, 11)
    assert told.top_logprobs == ({"e": -0.5, "é": -9999.0}, {" x": -1.5})
    assert told.token_logprobs == (-9999.0, -1.5)
