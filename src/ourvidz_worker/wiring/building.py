"""Building a pod: once, or again and again until its queue can be reached."""

import asyncio
import logging
import random
from pathlib import Path

from ourvidz_worker.clock import Clock
from ourvidz_worker.config import Config
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.pod.backoff import Backoff
from ourvidz_worker.telemetry.log import Action
from ourvidz_worker.wiring.parts import Parts, build_parts

log = logging.getLogger(__name__)


class Building:
    """Builds the parts of a pod; while its queue cannot be reached, again and again."""

    def __init__(self, config: Config, sockets: Path, clock: Clock) -> None:
        """Nothing is touched yet."""
        self._config = config
        self._sockets = sockets
        self._clock = clock
        self._is_waiting = False

    def problems(self) -> tuple[str, ...]:
        """What is waited for, in words."""
        return ("the queue cannot be reached",) if self._is_waiting else ()

    async def done_before(self, stop: "asyncio.Task[None]") -> Parts | None:
        """The parts; None when `stop` came first. Raises `ConfigError`."""
        building = asyncio.create_task(self._build())
        await asyncio.wait({building, stop}, return_when=asyncio.FIRST_COMPLETED)
        if building.done():
            return building.result()
        building.cancel()
        await asyncio.gather(building, return_exceptions=True)
        return None

    async def _build(self) -> Parts:
        backoff = Backoff(random.random)
        while True:
            try:
                return await build_parts(self._config, self._sockets)
            except QueueUnavailable:
                self._is_waiting = True
                log.warning("queue unavailable", extra={"action": Action.QUEUE_UNAVAILABLE})
                await self._clock.sleep(backoff.next_s())
