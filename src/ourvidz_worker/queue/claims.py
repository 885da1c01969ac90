"""Claims: waiting elements become leases of jobs.

The server leases elements by what it can make out of them; here they are decoded strictly, and
each is bound to its job: in the same step where its element was seen before, as the one that ended
a wait is, else in a step of its own. What names no job becomes a dead letter, what was worked
already or is being worked is dropped, what belongs to another lane goes back; the lane goes on
(Q-11).
"""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Lease, Token
from ourvidz_worker.domain.lane import UNMANNED, Lane
from ourvidz_worker.queue.base import DeadLetter
from ourvidz_worker.queue.elements import Element, read_element
from ourvidz_worker.queue.letters import write_letter
from ourvidz_worker.queue.lookout import Lookout
from ourvidz_worker.queue.names import LISTS
from ourvidz_worker.queue.records import to_job, to_kept, write_event
from ourvidz_worker.queue.seeds import draw_seed
from ourvidz_worker.queue.settings import QueueSettings
from ourvidz_worker.queue.steps import Steps
from ourvidz_worker.queue.wire import Argument, optional
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

MOST_ROUNDS = 8
"""Claims in one call: bounds how long a flood of garbage may keep a caller waiting."""

FIELDS = 6
"""What the server tells of each lease, before what became of one that it bound."""

LANES = {listed: lane for lane, listed in LISTS.items()}


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """An element that the server leased to this pod, and what it says.

    `bound` is what became of it where it was bound in the same step.
    """

    entry: bytes
    raw: bytes
    listed: str
    lane: Lane
    tries: int
    fence: int
    element: Element
    bound: Sequence[Any] | None = None


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What is remembered of a lease until it ends: what the job came as, and from where."""

    fence: int
    tries: int
    raw: bytes
    listed: str


class Round(msgspec.Struct, frozen=True, kw_only=True):
    """What one claim gave: leases, how many elements it spent on nothing, and the lists left."""

    leases: list[Lease]
    spent: int
    lengths: list[int]


class Claims:
    """Leases jobs for one pod, one call after the other."""

    def __init__(
        self, steps: Steps, lookout: Lookout, settings: QueueSettings, clock: Clock
    ) -> None:
        """Take the parts."""
        self._steps = steps
        self._lookout = lookout
        self._settings = settings
        self._clock = clock
        self._lock = asyncio.Lock()
        self._nonce: str | None = None
        self._held: dict[str, Held] = {}

    async def lease(self, wanted: Mapping[Lane, int], ttl_s: float) -> tuple[list[Lease], bool]:
        """Leases for what is wanted, and whether more may be had at once."""
        async with self._lock:
            leases: list[Lease] = []
            for _ in range(MOST_ROUNDS):
                left = {lane: n - _number(leases, lane) for lane, n in wanted.items()}
                if max(left.values()) <= 0:
                    return leases, False
                got = await self._round_beside(leases, left, ttl_s)
                if got is None:
                    return leases, True
                leases += got.leases
                self._lookout.saw(got.lengths, took=bool(leases))
                if not got.spent:
                    return leases, False
            return leases, True

    def held(self, token: Token) -> Held | None:
        """What is remembered of a lease given here that has not ended."""
        found = self._held.get(token.job_id)
        return found if found is not None and found.fence == token.fence else None

    def forget(self, token: Token) -> None:
        """This lease has ended."""
        if self.held(token) is not None:
            del self._held[token.job_id]

    async def _round_beside(
        self, leases: Sequence[Lease], wanted: Mapping[Lane, int], ttl_s: float
    ) -> Round | None:
        """One more round; None when there is no answer, and leases that must not be lost by it."""
        try:
            return await self._round(wanted, ttl_s)
        except QueueUnavailable:
            if leases:
                return None
            raise

    async def _round(self, wanted: Mapping[Lane, int], ttl_s: float) -> Round:
        # Kept until its answer was dealt with: asked again, the server gives the same leases.
        self._nonce = self._nonce or secrets.token_hex(8)
        served = dict.fromkeys((*self._settings.lanes, *UNMANNED), True)
        now = self._clock.now()
        found, lengths, twins = await self._steps.run(
            "claim",
            self._nonce,
            round(ttl_s * 1000),
            msgspec.json.encode(list(wanted.items())),
            msgspec.json.encode(served),
            now,
            write_event(EventKind.CANCELLED, now, {}),
            *_foreseen(self._lookout.take_seen()),
        )
        claimed = [_read(each) for each in found]
        if twins:
            fields: dict[str, object] = {"action": Action.ELEMENT_DROPPED, "count": twins}
            log.warning("twins of what is leased", extra=fields)
        for each in claimed:
            if each.element.job_id is None:
                await self._bury(each)
        named = [each for each in claimed if each.element.job_id is not None]
        leases = await self._bind(named)
        self._nonce = None
        kept = await self._return_surplus(leases, wanted)
        return Round(leases=kept, spent=twins + len(claimed) - len(leases), lengths=lengths)

    async def _bind(self, claimed: Sequence[Claimed]) -> list[Lease]:
        """The leases of what could be bound, in the order of the claim."""
        unbound = [each for each in claimed if each.bound is None]
        answers: Sequence[Any] = []
        if unbound:
            now = self._clock.now()
            arguments = [argument for each in unbound for argument in _binding_of(each)]
            event = write_event(EventKind.CANCELLED, now, {})
            answers = await self._steps.run("bind", now, event, *arguments)
        later = iter(answers)
        leases = []
        for each in claimed:
            answer = next(later) if each.bound is None else each.bound
            verdict = answer[0].decode()
            if verdict == "ok":
                leases.append(self._lease(each, answer[1]))
            elif verdict == "dropped":
                fields = {"action": Action.ELEMENT_DROPPED, "job_id": each.element.job_id}
                log.warning("a second element of one job", extra=fields)
        return leases

    def _lease(self, claimed: Claimed, answer: Sequence[bytes]) -> Lease:
        kept = to_kept(answer)
        job = to_job(kept)
        self._held[job.id] = Held(
            fence=claimed.fence,
            tries=claimed.tries,
            raw=job.payload if job.arrival_known else claimed.raw,
            listed=claimed.listed,
        )
        return Lease(
            job=job,
            token=Token(job.id, claimed.fence),
            tries=claimed.tries,
            seed=int(kept[b"seed"]),
            exhausted=claimed.tries > self._settings.max_tries,
        )

    async def _bury(self, claimed: Claimed) -> None:
        letter = DeadLetter(
            job_id=None,
            raw=claimed.raw,
            reason=claimed.element.reason,
            code="INVALID_REQUEST",
            tries=claimed.tries,
            at=self._clock.now(),
        )
        text = write_letter(letter, self._settings.worker_id)
        await self._steps.run("drop", claimed.entry, claimed.fence, text)
        fields = {"action": Action.ELEMENT_BURIED, "reason": letter.reason, "queue": claimed.listed}
        log.warning("an element that names no job", extra=fields)

    async def _return_surplus(
        self, leases: Sequence[Lease], wanted: Mapping[Lane, int]
    ) -> list[Lease]:
        """Leases of an earlier claim, asked for again, may be more than is wanted now."""
        kept: list[Lease] = []
        for lease in leases:
            if _number(kept, lease.job.lane) < wanted.get(lease.job.lane, 0):
                kept.append(lease)
                continue
            now = self._clock.now()
            event = write_event(EventKind.CANCELLED, now, {})
            await self._steps.run(
                "requeue", lease.token.job_id, lease.token.fence, 0, 0, now, event
            )
        return kept


def _read(found: Sequence[Any]) -> Claimed:
    entry, raw, listed, lane, tries, fence = found[:FIELDS]
    return Claimed(
        entry=entry,
        raw=raw,
        listed=listed.decode(),
        lane=Lane(lane.decode()),
        tries=tries,
        fence=fence,
        element=read_element(raw),
        bound=found[6] if len(found) > FIELDS else None,
    )


def _binding_of(claimed: Claimed) -> tuple[Argument, ...]:
    return _binding(claimed.entry, claimed.fence, claimed.element, claimed.listed)


def _foreseen(seen: Mapping[str, bytes]) -> Iterator[Argument]:
    """What `claim` wants to know of elements that it may lease."""
    for listed, raw in seen.items():
        element = read_element(raw)
        if element.job_id is not None:
            entry = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
            yield from _binding(entry, "", element, listed)


def _binding(
    entry: Argument, fence: Argument, element: Element, listed: str
) -> tuple[Argument, ...]:
    """What the scripts want to know of one entry to bind it."""
    return (
        entry,
        fence,
        element.job_id or "",
        # A job of our own interface is in the lane that it was accepted for.
        "" if element.accepted else element.lane(LANES[listed]),
        int(element.priority),
        element.type,
        element.user_id,
        optional(element.payload if element.readable else None),
        int(element.readable),
        draw_seed(),
    )


def _number(leases: Sequence[Lease], lane: Lane) -> int:
    return sum(lease.job.lane is lane for lease in leases)
