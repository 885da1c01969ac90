"""Several streams as one: in the order of arrival, ending together."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ourvidz_worker.api.chorus import together
from ourvidz_worker.api.patience import closing
from ourvidz_worker.domain.errors import AttemptError

pytestmark = pytest.mark.anyio


class Source:
    """A stream that gives what it is fed, and says whether it is open."""

    def __init__(self, *items: str | Exception | None) -> None:
        self.fed: asyncio.Queue[str | Exception | None] = asyncio.Queue()
        self.given = 0
        self.is_open = False
        for item in items:
            self.fed.put_nowait(item)

    async def stream(self) -> AsyncIterator[str]:
        self.is_open = True
        try:
            while (item := await self.fed.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                self.given += 1
                yield item
        finally:
            self.is_open = False


async def test_items_are_told_as_they_come() -> None:
    slow, quick = Source(), Source("a", "b", None)
    told = together([slow.stream(), quick.stream()])
    assert [await anext(told), await anext(told)] == [(1, "a"), (1, "b")]
    slow.fed.put_nowait("c")
    assert await anext(told) == (0, "c")
    slow.fed.put_nowait(None)
    assert [pair async for pair in told] == []
    assert not slow.is_open


async def test_one_that_fails_fails_all_and_closes_them() -> None:
    broken, patient = Source("a", AttemptError()), Source("b")
    told = together([patient.stream(), broken.stream()])
    assert sorted([await anext(told), await anext(told)]) == [(0, "b"), (1, "a")]
    with pytest.raises(AttemptError):
        await anext(told)
    assert not patient.is_open


async def test_whoever_leaves_closes_them_all() -> None:
    sources = [Source("a"), Source("b"), Source()]
    async with closing(together([source.stream() for source in sources])) as told:
        await anext(told)
        assert all(source.is_open for source in sources)
    assert not any(source.is_open for source in sources)


async def test_a_slow_reader_holds_the_streams_back() -> None:
    many = [str(number) for number in range(50)]
    sources = [Source(*many), Source(*many)]
    async with closing(together([source.stream() for source in sources])) as told:
        await anext(told)
        await anext(told)
        assert sum(source.given for source in sources) <= 6
