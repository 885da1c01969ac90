"""Queues over the application's Redis lists: `sdxl_queue`, `wan_queue` and `chat_queue`.

The lists hold waiting elements as they were pushed and nothing else, so that their length is the
truth. What pods share of leases, tries, turns and jobs lies beside them; every step is one script.
What a pod owes its caller lies in its state folder too, synced before it is sent.
"""

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Mapping, Sequence

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import Conflict, LeaseLost, NotFound
from ourvidz_worker.domain.event import EventKind, JobEvent
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import PUBLIC_STATUS, Job, Lease, Status, Token
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue.base import (
    CallbackRow,
    CancelOutcome,
    DeadCallback,
    DeadLetter,
    JobRecord,
    Settlement,
    SubmitOutcome,
)
from ourvidz_worker.queue.bell import Bell
from ourvidz_worker.queue.claims import Claims
from ourvidz_worker.queue.elements import write_element
from ourvidz_worker.queue.letters import read_letter, write_letter
from ourvidz_worker.queue.list_outbox import FILE, PROCESSING, SCHEMA, ListOutbox, read_row
from ourvidz_worker.queue.lookout import Lookout
from ourvidz_worker.queue.names import LIST_OF, LISTS
from ourvidz_worker.queue.pushed import Pushed
from ourvidz_worker.queue.records import to_event, to_kept, to_record, write_end, write_event
from ourvidz_worker.queue.replay import replay_letter
from ourvidz_worker.queue.server import check_server
from ourvidz_worker.queue.settings import QueueSettings
from ourvidz_worker.queue.sqlite_store import SqliteStore
from ourvidz_worker.queue.steps import Steps
from ourvidz_worker.queue.wire import Argument, Wire, optional

log = logging.getLogger(__name__)

UNPUSHED = LISTS[Lane.IMAGE]
"""Where a dead letter goes that says nothing of its list."""


class ListQueue:
    """`Queue` and `Outbox` over the lists, shared with other pods.

    Times of events come from the pod's clock; deadlines of leases, delays and the life of a pod go
    by the server's. A lease tried more than `max_tries` times is handed out as exhausted.
    """

    def __init__(self, settings: QueueSettings, clock: Clock, wire: Wire) -> None:
        """Build the parts; nothing is touched before `open`."""
        self._settings = settings
        self._clock = clock
        self._steps = Steps(wire, clock, server_time=settings.server_time)
        store = SqliteStore(settings.state_dir, file=FILE, schema=SCHEMA)
        self._outbox = ListOutbox(store, self._steps, clock)
        self._bell = Bell(clock)
        self._lookout = Lookout(wire, self._steps, self._bell, clock)
        self._claims = Claims(self._steps, self._lookout, settings, clock)
        self._pushed = Pushed(self._steps, clock)
        self._ending: dict[Token, str] = {}
        self._locks: dict[Token, asyncio.Lock] = {}
        self._burial = asyncio.Lock()

    async def open(self) -> None:
        """Take the folder, reach the server, give back what this pod's last life held.

        Raises `ConfigError` for a folder or a server that cannot be used, and `QueueUnavailable`.
        """
        async with contextlib.AsyncExitStack() as opened:
            self._steps.pod = await self._outbox.open()
            opened.push_async_callback(self._outbox.close)
            told = await self._steps.open()
            opened.push_async_callback(self._steps.close)
            check_server(told)
            await self._owe_all(await self._steps.run("restart", *self._cancelled_at()))
            await self._outbox.replay()
            opened.pop_all()
        self._bell.ring()

    async def close(self) -> None:
        """Finish the work at hand; leases held stay until they lapse or the pod comes back."""
        await self._lookout.close()
        await self._steps.close()
        await self._outbox.close()

    async def submit(self, job: Job, *, callback: bytes | None = None) -> SubmitOutcome:
        """Accept a job durably: an element of its lane's list stands for it."""
        nonce = secrets.token_hex(8)
        row = (job.id, PUBLIC_STATUS[Status.WAITING], nonce, callback or b"")
        if callback is not None:
            await self._outbox.owe([row], due=float("inf"))
        listed = LIST_OF[job.lane]
        element = write_element(job.id, job.type, job.user_id, nonce)
        self._lookout.expect(listed, element)
        outcome = await self._steps.run(
            "submit",
            job.id,
            job.payload,
            nonce,
            element,
            listed,
            job.lane,
            int(job.priority),
            job.type,
            job.user_id,
            job.submitted_at,
        )
        if callback is not None:
            await self._outbox.release(row, owed=outcome == b"accepted")
        if outcome == b"conflict":
            raise Conflict("A job with this id and other content exists.", field="id")
        if outcome == b"existing":
            return "existing"
        self._bell.ring()
        return "accepted"

    async def lease(self, owner: str, wanted: Mapping[Lane, int], ttl_s: float) -> list[Lease]:
        """Lease at most `wanted[lane]` jobs of each lane; `owner` is this pod, whatever its name.

        After `QueueUnavailable` ask again: what the server may have leased then is given then.
        """
        if not any(wanted.values()):
            return []
        leases, more = await self._claims.lease(wanted, ttl_s)
        if more:
            self._bell.ring()
        return leases

    async def renew(self, tokens: Sequence[Token], ttl_s: float) -> list[bool]:
        """Renew leases to `ttl_s` from now."""
        if not tokens:
            return []
        pairs = [part for token in tokens for part in (token.job_id, token.fence)]
        kept = await self._steps.run("renew", round(ttl_s * 1000), *pairs)
        for token, is_ours in zip(tokens, kept, strict=True):
            if not is_ours:
                self._claims.forget(token)
        return [is_ours == 1 for is_ours in kept]

    async def start(self, token: Token, *, callback: bytes | None = None) -> None:
        """Note that the work begins."""
        told = await self._steps.run("start", token.job_id, token.fence, self._clock.now())
        if told < 0:
            raise LeaseLost(job_id=token.job_id, fence=token.fence)
        if callback is not None and not told:
            await self._outbox.owe([(token.job_id, PROCESSING, "", callback)])

    async def settle(self, token: Token, end: Settlement) -> None:
        """End a job. After `QueueUnavailable` say the same again: it is done once."""
        lock = self._locks.setdefault(token, asyncio.Lock())
        async with lock:
            nonce = self._ending.setdefault(token, secrets.token_hex(8))
            ended = await self._steps.run("settle", *self._settling(token, end, nonce))
            status = PUBLIC_STATUS[end.status]
            if ended and end.callback is not None:
                await self._outbox.owe([(token.job_id, status, nonce, end.callback)])
            self._ending.pop(token, None)
            self._locks.pop(token, None)
        self._claims.forget(token)
        if not ended:
            raise LeaseLost(job_id=token.job_id, fence=token.fence)

    async def requeue(self, token: Token, *, burn: bool, delay_s: float = 0.0) -> None:
        """Give a job back to the left of its list, after `delay_s`."""
        ready = self._clock.monotonic() + delay_s
        held = self._claims.held(token)
        if held is not None:
            self._lookout.expect(held.listed)
        delay_ms = round(delay_s * 1000)
        answer = await self._steps.run(
            "requeue", token.job_id, token.fence, int(burn), delay_ms, *self._cancelled_at()
        )
        self._claims.forget(token)
        if not answer[0]:
            raise LeaseLost(job_id=token.job_id, fence=token.fence)
        await self._owe_all(answer[1:])
        self._bell.ring_at(ready)

    async def cancel(self, job_id: str, *, callback: bytes | None = None) -> CancelOutcome:
        """Cancel a job, also one that the application pushed and nobody has looked at yet."""
        nonce, body = secrets.token_hex(8), optional(callback)
        said = await self._steps.run("cancel", job_id, nonce, self._clock.now(), body)
        outcome: CancelOutcome = said.decode()
        if outcome == "unknown" and await self._pushed.cancel(job_id, nonce, body):
            outcome = "cancelled"
        if outcome == "cancelled" and callback is not None:
            await self._outbox.owe([(job_id, "cancelled", nonce, callback)])
        return outcome

    async def sweep(self) -> int:
        """Give back lapsed leases, take over what dead pods owe and what others left behind."""
        if self._steps.unsure:
            self._steps.unsure = False
            await self._outbox.reconcile()
        count, rows, foreign = await self._steps.run("sweep", *self._cancelled_at())
        await self._owe_all(rows)
        if foreign:
            count += await self._pushed.adopt()
        if count:
            self._bell.ring()
        return int(count)

    async def depths(self) -> dict[Lane, Depth]:
        """The depth of every lane: the length of its list, and what of it is leased."""
        return await self._lookout.depths()

    async def find(self, job_id: str) -> JobRecord | None:
        """One job, or None; one that the application pushed is looked for in the lists."""
        kept = to_kept(await self._steps.run("find", job_id))
        return to_record(kept) if kept else await self._pushed.find(job_id)

    async def recent(
        self, *, status: Status | None = None, user_id: str | None = None, limit: int = 50
    ) -> list[JobRecord]:
        """The newest jobs first, of every pod; what nobody has claimed yet is not among them."""
        found = await self._steps.run("recent", status or "", user_id or "", limit)
        return [to_record(to_kept(each)) for each in found]

    async def bury(self, letter: DeadLetter) -> None:
        """Keep a dead letter, after those that were brought before it."""
        async with self._burial:
            text = write_letter(letter, self._settings.worker_id)
            await self._steps.run("bury", UNPUSHED, text)

    async def dead(self, limit: int = 50) -> list[DeadLetter]:
        """The newest dead letters of all lists first."""
        return [read_letter(each) for each in await self._steps.run("dead", limit)][:limit]

    async def replay(self, letter_id: str) -> str | None:
        """Put what a dead letter holds back into its list. Raises `NotFound`, `Conflict`.

        After `QueueUnavailable` look whether the letter is still there.
        """
        job_id = await replay_letter(self._steps, letter_id, self._clock)
        if job_id is not None:
            await self._outbox.forget_dead(job_id)
        self._bell.ring()
        return job_id

    async def record(
        self, job_id: str, kind: EventKind, data: Mapping[str, str | int | float | bool | None]
    ) -> JobEvent:
        """Append one event. Raises `NotFound` for a job that is not kept."""
        at = self._clock.now()
        number = await self._steps.run("record", job_id, write_event(kind, at, dict(data)))
        if not number:
            raise NotFound
        return JobEvent(job_id=job_id, seq=number, kind=kind, at=at, data=dict(data))

    async def events(self, job_id: str, *, after: int = 0) -> list[JobEvent]:
        """A job's kept events above `after`."""
        kept = [to_event(job_id, each) for each in await self._steps.run("events", job_id)]
        return [event for event in kept if event.seq > after]

    async def changed(self, timeout_s: float) -> bool:
        """Wait until work may have become leasable."""
        return await self._lookout.wait(timeout_s)

    async def due(self, limit: int) -> list[CallbackRow]:
        """Callbacks to send now."""
        return await self._outbox.due(limit)

    async def next_due_in(self) -> float | None:
        """Seconds until the next callback is due."""
        return await self._outbox.next_due_in()

    async def delivered(self, row: CallbackRow) -> None:
        """Strike a callback out."""
        await self._outbox.delivered(row)

    async def postpone(self, row: CallbackRow, delay_s: float, error: str) -> None:
        """Count a try of a callback and set the next one."""
        await self._outbox.postpone(row, delay_s, error)

    async def give_up(self, row: CallbackRow, reason: str) -> None:
        """Move a callback to the dead ones."""
        await self._outbox.give_up(row, reason)

    async def dead_callbacks(self, limit: int = 50) -> list[DeadCallback]:
        """What this pod gave up, the newest first; other pods keep theirs."""
        return await self._outbox.dead(limit)

    async def revive(self, callback_id: int) -> bool:
        """Owe a dead callback again. Raises `Conflict` for one that would come too late."""
        return await self._outbox.revive(callback_id)

    async def owed(self) -> int:
        """How many callbacks are owed."""
        return await self._outbox.owed()

    async def _owe_all(self, rows: Sequence[Sequence[bytes]]) -> None:
        """Owe what a script says is owed, in its order."""
        read = map(read_row, rows)
        await self._outbox.owe([(job, status, nonce, body) for job, status, body, nonce in read])

    def _cancelled_at(self) -> tuple[float, bytes]:
        """The time and the event of a job that ends as cancelled when it is given back."""
        now = self._clock.now()
        return now, write_event(EventKind.CANCELLED, now, {})

    def _settling(self, token: Token, end: Settlement, nonce: str) -> tuple[Argument, ...]:
        return (
            token.job_id,
            token.fence,
            nonce,
            end.status,
            self._clock.now(),
            write_end(end),
            optional(end.callback),
            optional(self._letter(token, end) if end.dead else None),
            optional(end.result),
        )

    def _letter(self, token: Token, end: Settlement) -> bytes:
        held = self._claims.held(token)
        letter = DeadLetter(
            job_id=token.job_id,
            raw=held.raw if held is not None else b"",
            reason=end.sentence or end.code or end.status,
            code=end.code or "",
            tries=held.tries if held is not None else 0,
            at=self._clock.now(),
        )
        return write_letter(letter, self._settings.worker_id)
