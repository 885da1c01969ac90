"""News: whoever waits for something to become true looks again whenever anything has changed."""

import asyncio
from collections.abc import Callable, Coroutine

from ourvidz_worker.clock import Clock


class News:
    """Told by those who change things, awaited by those who depend on them."""

    def __init__(self, clock: Clock) -> None:
        """`clock` counts the patience of those who wait."""
        self._clock = clock
        self._told = asyncio.Event()

    def tell(self) -> None:
        """Something has changed."""
        self._told.set()

    async def until(self, is_true: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait until `is_true`, asked at once and after all news; False after `timeout_s`."""
        if timeout_s is not None and timeout_s <= 0:
            return is_true()
        over = None if timeout_s is None else asyncio.ensure_future(self._clock.sleep(timeout_s))
        try:
            while not is_true():
                if over is not None and over.done():
                    return False
                self._told.clear()
                waiter = asyncio.ensure_future(self._told.wait())
                await asyncio.wait(
                    {waiter, *({over} if over else ())}, return_when=asyncio.FIRST_COMPLETED
                )
                waiter.cancel()
            return True
        finally:
            if over is not None:
                over.cancel()


async def first_of(*works: Coroutine[None, None, object]) -> None:
    """Wait until one of them has ended; the others are cancelled."""
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
