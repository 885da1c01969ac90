"""What a load of chats measured: how soon, how evenly, how much, and how fairly."""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean, quantiles

import msgspec

from ourvidz_worker.cli.chat_answers import ChatAnswer
from ourvidz_worker.cli.chat_load import ChatLoad

MS = 1000.0


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """Percentiles of `n` samples, in milliseconds."""

    p50: float
    p95: float
    p99: float
    n: int

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Of samples in seconds; all 0 where there are none."""
        if not samples:
            return cls(p50=0.0, p95=0.0, p99=0.0, n=0)
        values = [sample * MS for sample in samples]
        cuts = quantiles(values, n=100, method="inclusive") if len(values) > 1 else values * 99
        p50, p95, p99 = (round(cuts[percent - 1], 3) for percent in (50, 95, 99))
        return cls(p50=p50, p95=p95, p99=p99, n=len(values))


class LoadFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One load measured. Token counts are the pod's own (`usage`), times the client's.

    `first` is the time to the first text, `gap` the time between two pieces, `token` the mean
    time of a token in each answer. The ratios compare users at one moment, see `fairness`.
    """

    load: ChatLoad
    answers: int
    failures: dict[str, int]
    seconds: float
    prompt_tokens: float
    """Mean of a prompt."""
    cached_share: float
    """Share of all prompt tokens that the pod had computed before."""
    tokens: int
    tokens_per_s: float
    answers_per_s: float
    first: Spread
    gap: Spread
    token: Spread
    tokens_per_piece: float
    full_length_share: float
    """Share of answers that were as long as allowed."""
    progress_ratio: float
    pace_ratio: float


def figures_of(load: ChatLoad, users: Sequence[Sequence[ChatAnswer]]) -> LoadFigures:
    """The figures of a load's answers, user by user."""
    answers = [answer for user in users for answer in user]
    whole = [answer for answer in answers if not answer.failure]
    begun = min(answer.asked_at for answer in answers)
    seconds = max(answer.ended_at for answer in answers) - begun
    tokens = sum(answer.tokens for answer in whole)
    prompt = sum(answer.prompt_tokens for answer in whole)
    pieces = sum(len(answer.pieces) for answer in whole)
    ends = [answer.finish_reason == "length" for answer in whole]
    progress_ratio, pace_ratio = fairness(users)
    return LoadFigures(
        load=load,
        answers=len(whole),
        failures=dict(Counter(answer.failure for answer in answers if answer.failure)),
        seconds=round(seconds, 3),
        prompt_tokens=round(prompt / len(whole), 1) if whole else 0.0,
        cached_share=round(sum(a.cached_tokens for a in whole) / prompt, 4) if prompt else 0.0,
        tokens=tokens,
        tokens_per_s=round(tokens / seconds, 1) if seconds else 0.0,
        answers_per_s=round(len(whole) / seconds, 2) if seconds else 0.0,
        first=Spread.of([one.first_s for one in whole if one.first_s is not None]),
        gap=Spread.of([later.at - at for one in whole for (at, _), later in pairwise(one.pieces)]),
        token=Spread.of([one.token_s for one in whole if one.token_s is not None]),
        tokens_per_piece=round(tokens / pieces, 3) if pieces else 0.0,
        full_length_share=round(fmean(ends), 3) if ends else 0.0,
        progress_ratio=round(progress_ratio, 3),
        pace_ratio=round(pace_ratio, 3),
    )


def fairness(users: Sequence[Sequence[ChatAnswer]]) -> tuple[float, float]:
    """The user furthest on over the one furthest behind: in tokens, and in tokens a second.

    Counted when the first user has had answers of full length, among those who have not ended
    before: an answer that its model ended early is no unfairness. The pace counts from each
    answer's first text, so that it leaves the reading of prompts out. Who has no token yet counts
    as having one, so that the ratios stay numbers.
    """
    ends = [user[-1].ended_at for user in users if user[-1].finish_reason == "length"]
    moment = min(ends or [user[-1].ended_at for user in users])
    talking = [user for user in users if user[-1].ended_at >= moment]
    come = [max(1.0, sum(answer.tokens_at(moment) for answer in user)) for user in talking]
    paces = [
        tokens / seconds
        for tokens, user in zip(come, talking, strict=True)
        if (seconds := sum(_written_s(answer, moment) for answer in user)) > 0
    ]
    pace_ratio = max(paces) / min(paces) if paces else 1.0
    return max(come) / min(come), pace_ratio


def _written_s(answer: ChatAnswer, moment: float) -> float:
    """How long the text of an answer had been coming."""
    if not answer.pieces:
        return 0.0
    return max(0.0, min(moment, answer.pieces[-1].at) - answer.pieces[0].at)
