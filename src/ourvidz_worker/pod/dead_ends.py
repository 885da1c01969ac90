"""Dead ends: what was given up, shown to the operator, and the way back for it."""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from ourvidz_worker.domain.errors import NotFound
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.pod.hub import Hub
from ourvidz_worker.queue import DeadCallback, DeadLetter, Store
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DeadEnds:
    """The pod's side of the operator's interface; built once by wiring.

    `owed` hears that a callback may be due now.
    """

    queue: Store
    hub: Hub
    owed: Callable[[], None]

    async def letters(self, limit: int) -> list[DeadLetter]:
        """The newest dead letters first."""
        return await self.queue.dead(limit)

    async def replay(self, letter_id: str) -> str | None:
        """Let a dead letter be worked anew; its job's id. Raises `NotFound`, `Conflict`."""
        job_id = await self.queue.replay(letter_id)
        log.info("letter replayed", extra={"action": Action.LETTER_REPLAYED, "job_id": job_id})
        if job_id is not None:
            # A job that was pushed is known again when it is claimed.
            with suppress(NotFound):
                await self.hub.milestone(job_id, EventKind.ACCEPTED)
        return job_id

    async def callbacks(self, limit: int) -> list[DeadCallback]:
        """The newest dead callbacks of this pod first."""
        return await self.queue.dead_callbacks(limit)

    async def revive(self, callback_id: int) -> None:
        """Send a dead callback again from now on. Raises `NotFound`, `Conflict`."""
        if not await self.queue.revive(callback_id):
            raise NotFound("There is no dead callback of that number.")
        fields = {"action": Action.CALLBACK_REVIVED, "callback": callback_id}
        log.info("callback revived", extra=fields)
        self.owed()
