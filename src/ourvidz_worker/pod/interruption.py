"""Interruption: why a job's work must stop, and what a stop breaks off at once."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ourvidz_worker.domain.errors import StopRequested

Value = TypeVar("Value")


class Interruption:
    """One job's stop: asked for at any time, from the same event loop."""

    def __init__(self) -> None:
        """Nobody has asked."""
        self.reason: str | None = None
        """The first reason given: `cancelled`, `draining` or `lost`; None while there is none."""
        self._guarded: asyncio.Task[Any] | None = None

    def stop(self, reason: str) -> bool:
        """Ask for a stop; True when that breaks off what is guarded now."""
        self.reason = self.reason or reason
        if self._guarded is None:
            return False
        self._guarded.cancel()
        return True

    def check(self) -> None:
        """Raise `StopRequested` when a stop was asked for."""
        if self.reason is not None:
            raise StopRequested(self.reason)

    async def guard(self, work: Coroutine[Any, Any, Value]) -> Value:
        """The result of `work`, unless a stop breaks it off: then `StopRequested`."""
        task: asyncio.Task[Value] = asyncio.ensure_future(work)
        self._guarded = task
        try:
            if self.reason is not None:
                task.cancel()
            return await task
        except asyncio.CancelledError:
            self.check()
            raise
        finally:
            self._guarded = None
            task.cancel()
