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

    `work` runs in the caller's own task, which costs half of one more: this is on the path of
    every request.
    """
    here = asyncio.current_task()
    if here is None:
        raise RuntimeError("there is no task to wait in")
    watch = _Watch(here)
    others = [asyncio.ensure_future(end) for end in ends]
    for other in others:
        other.add_done_callback(watch.leave)
    try:
        return await work
    except asyncio.CancelledError:
        if not watch.is_ours():
            raise
        return None
    finally:
        watch.over = True
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Watch:
    """Cancels a task once when an end comes, and knows that cancellation from anybody else's."""

    def __init__(self, task: "asyncio.Task[Any]") -> None:
        self.over = False
        self._task = task
        self._ended: asyncio.Future[Any] | None = None

    def leave(self, end: "asyncio.Future[Any]") -> None:
        """An end has come; the first one counts, unless the work was done before."""
        if not self.over and self._ended is None:
            self._ended = end
            self._task.cancel()

    def is_ours(self) -> bool:
        """True when the end alone cancelled the task; raises the error it ended with."""
        if self._ended is None or self._task.uncancel() > 0:
            return False
        self._ended.result()
        return True


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
