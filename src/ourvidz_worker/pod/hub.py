"""The hub: what happens to jobs, told to whoever watches them.

Milestones are kept in the queue and numbered there; what comes many times a second (progress,
tokens, previews) is told to the present watchers alone and carries the last milestone's number,
so that a watcher who comes back asks for what it missed and gets every milestone.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.domain.event import LAST_EVENTS, EventKind, JobEvent
from ourvidz_worker.queue import Queue

FLEETING = frozenset({EventKind.PROGRESS, EventKind.TOKEN, EventKind.PREVIEW})
MAX_BACKLOG = 1_000
"""A watcher this far behind misses fleeting events; milestones are never dropped."""

Data = Mapping[str, str | int | float | bool | None]


class Hub:
    """Fan-out of job events."""

    def __init__(self, queue: Queue, clock: Clock) -> None:
        """Milestones are recorded in `queue`."""
        self._queue = queue
        self._clock = clock
        self._watchers: dict[str, set[asyncio.Queue[JobEvent]]] = {}
        self._last_seq: dict[str, int] = {}

    async def milestone(self, job_id: str, kind: EventKind, data: Data | None = None) -> None:
        """Record an event and tell it. A queue that cannot record loses the event, not the job."""
        try:
            event = await self._queue.record(job_id, kind, data or {})
        except QueueUnavailable:
            event = self._fleeting(job_id, kind, data or {})
        if kind in LAST_EVENTS:
            self._last_seq.pop(job_id, None)
        else:
            self._last_seq[job_id] = event.seq
        self._tell(event)

    def moment(self, job_id: str, kind: EventKind, data: Data) -> None:
        """Tell a fleeting event to whoever watches now."""
        if job_id in self._watchers:
            self._tell(self._fleeting(job_id, kind, data))

    async def watch(self, job_id: str, *, after: int, ended: bool) -> AsyncIterator[JobEvent]:
        """Kept events above `after`, then live ones, up to and with the last event.

        `ended` says that the job had ended when the caller looked: then nothing is waited for.
        """
        inbox: asyncio.Queue[JobEvent] = asyncio.Queue()
        self._watchers.setdefault(job_id, set()).add(inbox)
        try:
            seen = after
            for event in await self._queue.events(job_id, after=after):
                seen = max(seen, event.seq)
                yield event
                if event.kind in LAST_EVENTS:
                    return
            while not ended:
                event = await inbox.get()
                if event.kind not in FLEETING and event.seq <= seen:
                    continue
                yield event
                if event.kind in LAST_EVENTS:
                    return
        finally:
            self._forget(job_id, inbox)

    def _fleeting(self, job_id: str, kind: EventKind, data: Data) -> JobEvent:
        return JobEvent(
            job_id=job_id,
            seq=self._last_seq.get(job_id, 0),
            kind=kind,
            at=self._clock.now(),
            data=dict(data),
        )

    def _tell(self, event: JobEvent) -> None:
        for inbox in self._watchers.get(event.job_id, ()):
            if event.kind not in FLEETING or inbox.qsize() < MAX_BACKLOG:
                inbox.put_nowait(event)

    def _forget(self, job_id: str, inbox: asyncio.Queue[JobEvent]) -> None:
        watchers = self._watchers.get(job_id, set())
        watchers.discard(inbox)
        if not watchers:
            self._watchers.pop(job_id, None)
