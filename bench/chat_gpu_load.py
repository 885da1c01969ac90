"""A closed loop of users on an engine in the same process, and what they saw."""

import random
import time
from collections.abc import Sequence
from itertools import pairwise

import msgspec

from bench.record import percentile

PROMPT_IDS = (1000, 150_000)
"""Prompts are drawn from these ids: no end, no control token."""

MS = 1000.0


class Text(msgspec.Struct):
    """One answer: when it was asked for, and when how many tokens came (seconds)."""

    asked_at: float
    arrivals: list[tuple[float, int]] = []

    @property
    def tokens(self) -> int:
        """How many came in all."""
        return sum(count for _, count in self.arrivals)

    def note(self, count: int) -> None:
        """So many tokens came now."""
        if count:
            self.arrivals.append((time.perf_counter(), count))


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one load, in the words of `ourvidz-worker bench chat`."""

    users: int
    answers: int
    tokens: int
    tokens_per_s: float
    first_p50_ms: float
    first_p95_ms: float
    gap_p50_ms: float
    gap_p95_ms: float


def seen(users: int, texts: Sequence[Text]) -> Seen:
    """The figures of all answers, from the first question to the last token."""
    first = [text.arrivals[0][0] - text.asked_at for text in texts]
    gaps = [later[0] - earlier[0] for text in texts for earlier, later in pairwise(text.arrivals)]
    begun = min(text.asked_at for text in texts)
    ended = max(text.arrivals[-1][0] for text in texts)
    tokens = sum(text.tokens for text in texts)
    return Seen(
        users=users,
        answers=len(texts),
        tokens=tokens,
        tokens_per_s=tokens / (ended - begun),
        first_p50_ms=percentile(first, 50) * MS,
        first_p95_ms=percentile(first, 95) * MS,
        gap_p50_ms=percentile(gaps, 50) * MS,
        gap_p95_ms=percentile(gaps, 95) * MS,
    )


def prompt(length: int, chance: random.Random) -> list[int]:
    """Ids of a prompt that begins like no other."""
    return [chance.randrange(*PROMPT_IDS) for _ in range(length)]


def read_counts(text: str) -> list[tuple[int, int]]:
    """`1x6,64x4` as pairs: so many users, each with so many questions."""
    pairs = [word.split("x") for word in text.split(",")]
    return [(int(users), int(questions)) for users, questions in pairs]
