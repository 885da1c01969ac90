"""Several streams at once: what comes is told as it comes, and they end together."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TypeVar

from ourvidz_worker.api.patience import closing

Item = TypeVar("Item")


async def together(streams: Sequence[AsyncIterator[Item]]) -> AsyncIterator[tuple[int, Item]]:
    """The items of all streams as they come, each with its stream's number.

    One stream that fails fails all of them. However this ends, every stream is closed when it
    has. A reader who is slow holds the streams back, each at its next item.
    """
    inbox: asyncio.Queue[tuple[int, Item | None]] = asyncio.Queue()
    room = asyncio.Semaphore(len(streams))

    async def pour(number: int, stream: AsyncIterator[Item]) -> None:
        try:
            async with closing(stream) as items:
                async for item in items:
                    await room.acquire()
                    inbox.put_nowait((number, item))
        finally:
            inbox.put_nowait((number, None))

    tasks = [asyncio.ensure_future(pour(*each)) for each in enumerate(streams)]
    try:
        flowing = len(tasks)
        while flowing:
            number, item = await inbox.get()
            if item is None:
                await tasks[number]
                flowing -= 1
            else:
                yield number, item
                room.release()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
