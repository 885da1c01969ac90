"""The crew: every lane's supervisor, started one after the other (contract O-2)."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from ourvidz_worker.domain.lane import START_ORDER, Lane
from ourvidz_worker.pod.supervisor import Supervisor


class Crew:
    """Starts, stops and ends all workers of a pod."""

    def __init__(
        self,
        workers: Mapping[Lane, Supervisor],
        start_budget_s: float,
        *,
        may_start: Callable[[Lane], Awaitable[bool]] | None = None,
    ) -> None:
        """A worker that is not ready after `start_budget_s` does not hold up the next.

        One for which `may_start` says no is kept without a process until it is loaded.
        """
        self._may_start = may_start
        self._workers = [workers[lane] for lane in START_ORDER if lane in workers]
        self._budget_s = start_budget_s
        self._stopping = False

    async def run(self) -> None:
        """Start the workers in order and keep them; returns when all have stopped."""
        serving: list[asyncio.Task[None]] = []
        try:
            for worker in self._workers:
                if self._stopping:
                    break
                if self._may_start is not None and not await self._may_start(worker.lane):
                    worker.hold_back()
                serving.append(asyncio.create_task(worker.serve()))
                await asyncio.wait(
                    [asyncio.ensure_future(worker.started.wait())], timeout=self._budget_s
                )
            await asyncio.gather(*serving)
        finally:
            for task in serving:
                task.cancel()

    async def stop(self, grace_s: float) -> None:
        """Let every worker finish for `grace_s`, then exit."""
        self._stopping = True
        await asyncio.gather(*(worker.stop(grace_s) for worker in self._workers))

    def kill(self) -> None:
        """End every worker's process group at once."""
        for worker in self._workers:
            worker.kill()
