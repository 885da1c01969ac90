"""The load: prompts of a length, many users at once, and the figures of what they got."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from tests.unit.client.served_pod import KEY, ServedPod, complete, served

from ourvidz_worker.cli.chat_answers import ChatAnswer, Piece
from ourvidz_worker.cli.chat_figures import Spread, fairness, figures_of
from ourvidz_worker.cli.chat_load import ChatLoad, find_words, run_load
from ourvidz_worker.cli.chat_prompts import ChatPrompts, Turn, words_for
from ourvidz_worker.cli.chat_wire import Exchange, Target
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.domain.errors import AttemptError, Unavailable


@pytest.fixture
def pod() -> Iterator[ServedPod]:
    with served(complete) as running:
        yield running


def counted(turns: list[Turn]) -> int:
    """A model whose template has 20 tokens, and for which long words are two."""
    words = " ".join(turn["content"] for turn in turns).split()
    return 20 + sum(1 + (len(word) > 7) for word in words)


@pytest.mark.parametrize("mix", ["distinct", "shared"])
def test_a_prompt_has_the_length_it_is_asked_for(mix: str) -> None:
    async def count(turns: list[Turn]) -> int:
        return counted(turns)

    kind = msgspec.convert(mix, ChatLoad.__annotations__["mix"])
    words = asyncio.run(words_for(400, count, kind, seed=3))
    assert counted(ChatPrompts(kind, words, seed=3).turns()) == pytest.approx(400, abs=12)
    assert asyncio.run(words_for(1, count, kind)) == 1


def test_prompts_begin_apart_unless_they_share() -> None:
    apart = ChatPrompts("distinct", 40, seed=1)
    assert apart.turns()[0]["content"][:30] != apart.turns()[0]["content"][:30]
    together = ChatPrompts("shared", 40, seed=1)
    (first, one), (second, other) = together.turns(), together.turns()
    assert first == second
    assert (len(first["content"].split()), first["role"]) == (30, "system")
    assert one != other


def test_many_users_are_answered_and_counted(pod: ServedPod) -> None:
    load = ChatLoad(users=3, requests=2, tokens_in=7, tokens_out=9, extra={"top_p": 0.5})
    target, ended = Target.of(pod.url, KEY), list[Exchange]()
    words = asyncio.run(find_words(target, load, SystemClock()))
    users = asyncio.run(run_load(target, load, words, SystemClock(), ended.append))
    figures = figures_of(load, users)
    assert (figures.answers, figures.failures, len(ended)) == (6, {}, 6)
    assert (figures.prompt_tokens, figures.tokens, figures.first.n) == (7.0, 12, 6)
    assert figures.progress_ratio >= 1.0
    asked = pod.pod.texts.requests[1:]
    assert {request.sampling.seed for request in asked} == {1, 2, 3, 4, 5, 6}
    assert {(r.sampling.max_tokens, r.sampling.top_p) for r in asked} == {(9, 0.5)}
    assert len({request.messages for request in asked}) == 6


def test_failures_are_counted_by_code(pod: ServedPod) -> None:
    target, load = Target.of(pod.url, KEY), ChatLoad(users=2)
    pod.pod.texts.error = Unavailable()
    figures = figures_of(load, asyncio.run(run_load(target, load, 4, SystemClock())))
    assert (figures.answers, figures.failures) == (0, {"WORKER_UNAVAILABLE": 2})
    assert (figures.tokens_per_s, figures.first) == (0.0, Spread.of([]))
    with pytest.raises(AttemptError):
        asyncio.run(find_words(target, load, SystemClock()))


def test_a_pod_that_says_nothing_is_waited_for_no_longer_than_patience(pod: ServedPod) -> None:
    async def held() -> list[list[ChatAnswer]]:
        load = ChatLoad(users=1, requests=2, patience_s=0.05)
        return await run_load(Target.of(pod.url, KEY), load, 4, SystemClock())

    pod.pod.texts.hold = asyncio.Event()
    ((first, second),) = asyncio.run(held())
    assert (first.failure, second.failure) == ("NO_ANSWER", "NO_ANSWER")


def an_answer(asked_at: float, *pieces: float, tokens: int, reason: str = "length") -> ChatAnswer:
    return ChatAnswer(
        asked_at=asked_at,
        ended_at=pieces[-1],
        pieces=tuple(Piece(at, 4) for at in pieces),
        tokens=tokens,
        prompt_tokens=10,
        cached_tokens=5,
        finish_reason=reason,
    )


def test_figures_are_those_of_the_answers() -> None:
    fast = an_answer(0.0, 0.1, 0.2, 0.3, 0.4, tokens=4)
    slow = an_answer(0.0, 0.2, 0.4, 0.6, 0.8, tokens=8, reason="stop")
    figures = figures_of(ChatLoad(users=2), [[fast], [slow]])
    assert (figures.tokens, figures.tokens_per_s, figures.seconds) == (12, 15.0, 0.8)
    assert (figures.tokens_per_piece, figures.cached_share) == (1.5, 0.5)
    assert figures.full_length_share == 0.5
    assert figures.first == Spread(p50=150.0, p95=195.0, p99=199.0, n=2)
    assert figures.gap.n == 6
    assert figures.token.p50 == pytest.approx((100 + 600 / 7) / 2, abs=0.01)
    # When the fast one ends it has its 4 tokens, and the slow one half of its 8.
    assert figures.progress_ratio == 1.0
    assert figures.pace_ratio == pytest.approx((4 / 0.2) / (4 / 0.3))


def test_who_is_behind_when_the_first_ends_makes_the_ratio() -> None:
    ahead, behind = an_answer(0.0, 1.0, 2.0, tokens=8), an_answer(0.0, 1.0, 9.0, tokens=8)
    assert fairness([[ahead], [behind]]) == (2.0, 2.0)
    late = an_answer(0.0, 1.5, 2.0, 9.0, tokens=6)
    assert fairness([[ahead], [late]]) == (2.0, 1.0)
    assert fairness([[ahead], [an_answer(0.0, 5.0, tokens=8)]]) == (8.0, 1.0)


def test_an_answer_that_its_model_ended_is_nobody_s_lead() -> None:
    brief = an_answer(0.0, 0.5, tokens=1, reason="stop")
    ahead, behind = an_answer(0.0, 1.0, 2.0, tokens=8), an_answer(0.0, 1.0, 9.0, tokens=8)
    assert fairness([[brief], [ahead], [behind]]) == (2.0, 2.0)
    assert fairness([[brief], [brief]]) == (1.0, 1.0)
