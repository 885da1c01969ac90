"""An event loop in a thread of its own, for a library that lives on one."""

import asyncio
from collections.abc import Callable, Coroutine
from importlib import import_module
from threading import Thread
from typing import Any, TypeVar

Result = TypeVar("Result")

LAST_WORDS_S = 5.0
"""How long the tasks that are left may take to end."""


class LoopThread:
    """Runs coroutines for callers in other threads."""

    def __init__(self, name: str) -> None:
        """Nothing runs before `start`."""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = Thread(target=self._serve, name=name, daemon=True)

    @property
    def is_running(self) -> bool:
        """True between `start` and `stop`."""
        return self._loop is not None

    def start(self) -> None:
        """Start the thread; children it starts live no longer than it does."""
        self._loop = new_loop()
        self._thread.start()

    def call(
        self,
        work: Coroutine[Any, Any, Result],
        ours: Callable[[BaseException], BaseException],
    ) -> Result:
        """Run `work` there and wait for it; what it raises is turned by `ours`."""
        future = asyncio.run_coroutine_threadsafe(work, self._running())
        error = future.exception()
        if error is not None:
            raise ours(error) from error
        return future.result()

    def post(self, act: Callable[..., object], *arguments: object) -> None:
        """Have `act` called there, after what was posted before; does not wait."""
        self._running().call_soon_threadsafe(act, *arguments)

    def stop(self) -> None:
        """End what runs there, the loop and its thread; one that does not run is no error."""
        loop, self._loop = self._loop, None
        if loop is not None:
            asyncio.run_coroutine_threadsafe(_cancel_all(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            self._thread.join()
            loop.close()

    def _running(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            raise RuntimeError("the loop does not run")
        return self._loop

    def _serve(self) -> None:
        loop = self._running()
        asyncio.set_event_loop(loop)
        loop.run_forever()


async def _cancel_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=LAST_WORDS_S)


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop of uvloop's where it is installed, else Python's own."""
    try:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()
    except ImportError:
        return asyncio.new_event_loop()
    return loop
