"""Waiting with an end: for a caller who may leave, and for what may never come."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from starlette.types import Receive

Result = TypeVar("Result")
Item = TypeVar("Item")


async def unless(
    work: Coroutine[Any, Any, Result], *ends: Coroutine[Any, Any, object]
) -> Result | None:
    """What `work` returns, or None when one of `ends` came first and `work` was cancelled.

    All of them have ended when this returns. An error of `work` or of an end is raised.
    """
    main = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(end) for end in ends]
    tasks: list[asyncio.Future[Any]] = [main, *others]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    if not main.cancelled():
        return main.result()
    for end in others:
        if not end.cancelled():
            end.result()
    return None


async def departure(receive: Receive) -> None:
    """Return when the caller has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


@asynccontextmanager
async def closing(items: AsyncIterator[Item]) -> AsyncIterator[AsyncIterator[Item]]:
    """Close a generator on every way out, so that what it does stops at once."""
    try:
        yield items
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()
