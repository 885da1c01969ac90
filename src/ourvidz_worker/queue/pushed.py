"""Jobs that the application pushed and that no pod has claimed yet: known only by searching.

Also what workers of the reference mechanism (contract Q-5) left aside when they died.
"""

import hashlib
import logging
from collections.abc import Sequence
from typing import NamedTuple

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue.base import JobRecord
from ourvidz_worker.queue.elements import Element, read_element
from ourvidz_worker.queue.names import LISTS, name
from ourvidz_worker.queue.steps import Steps
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

LANES = {listed: lane for lane, listed in LISTS.items()}


class _Place(NamedTuple):
    listed: str
    entry: bytes
    element: Element

    @property
    def lane(self) -> Lane:
        return self.element.lane(LANES[self.listed])


class Pushed:
    """Finds, cancels and adopts elements in the lists."""

    def __init__(self, steps: Steps, clock: Clock) -> None:
        """Take the parts."""
        self._steps = steps
        self._clock = clock

    async def find(self, job_id: str) -> JobRecord | None:
        """A waiting job, or None."""
        place = await self._seek(job_id)
        if place is None:
            return None
        element = place.element
        job = Job(
            id=job_id,
            type=element.type,
            user_id=element.user_id,
            lane=place.lane,
            priority=element.priority,
            payload=element.payload,
            submitted_at=self._clock.now(),
            arrival_known=False,
        )
        return JobRecord(job=job, status=Status.WAITING)

    async def cancel(self, job_id: str, nonce: str, body: bytes) -> bool:
        """End a waiting job as cancelled, owing `body`; False when it does not wait."""
        place = await self._seek(job_id)
        if place is None:
            return False
        element = place.element
        removed = await self._steps.run(
            "remove",
            place.listed,
            place.entry,
            job_id,
            nonce,
            self._clock.now(),
            body,
            place.lane,
            int(element.priority),
            element.type,
            element.user_id,
            element.payload,
        )
        return bool(removed)

    async def adopt(self) -> int:
        """Take back leftovers that no foreign lease covers in two scans (Q-7); how many."""
        found = await self._steps.run("leftovers")
        asked = [part for listed, entry, raw in found for part in (listed, entry, _lease_of(raw))]
        count = int(await self._steps.run("adopt", *asked))
        if count:
            fields = {"action": Action.LEFTOVERS_ADOPTED, "count": count}
            log.warning("another worker left these behind", extra=fields)
        return count

    async def _seek(self, job_id: str) -> _Place | None:
        for place in map(_read, await self._steps.run("seek", job_id)):
            if place.element.job_id == job_id and place.element.readable:
                return place
        return None


def _read(found: Sequence[bytes]) -> _Place:
    listed, entry, raw = found
    return _Place(listed.decode(), entry, read_element(raw))


def _lease_of(raw: bytes) -> str:
    """The name of an element's lease in the reference mechanism."""
    return name("FOREIGN_LEASE", hashlib.sha256(raw).hexdigest())
