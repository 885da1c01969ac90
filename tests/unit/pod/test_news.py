"""Whoever waits looks again at all news, and no longer than it has patience."""

import asyncio

import pytest

from ourvidz_worker.pod.news import News, first_of
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


async def test_every_waiter_looks_again_at_all_news() -> None:
    clock, true = FakeClock(), [False]
    news = News(clock)
    waiters = [asyncio.create_task(news.until(lambda: true[0], 5.0)) for _ in range(3)]
    await clock.advance(1)
    news.tell()
    await clock.advance(1)
    assert not any(waiter.done() for waiter in waiters)
    true[0] = True
    news.tell()
    await clock.advance(0)
    assert [waiter.result() for waiter in waiters] == [True] * 3


async def test_patience_ends() -> None:
    clock = FakeClock()
    news = News(clock)
    assert await news.until(lambda: True)
    assert not await news.until(lambda: False, 0)
    waiting = asyncio.create_task(news.until(lambda: False, 5.0))
    await clock.advance(4.9)
    assert not waiting.done()
    await clock.advance(0.2)
    assert waiting.result() is False
    assert clock.sleepers() == 0


async def test_the_first_ends_the_others() -> None:
    clock = FakeClock()
    racing = asyncio.create_task(first_of(clock.sleep(5), clock.sleep(1)))
    await clock.advance(1)
    assert racing.done()
    await clock.advance(0)
    assert clock.sleepers() == 0
