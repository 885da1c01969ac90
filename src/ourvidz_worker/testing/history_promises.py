"""What every queue promises to those who watch it: records, events, dead letters, wake-ups."""

import asyncio
from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import Conflict, NotFound, RequestError
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Status, Token
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import DeadLetter, Settlement
from ourvidz_worker.testing.queue_bench import DONE, TTL_S, Bench, ids, is_lost, unnamed

MANY_EVENTS = 1500
KEPT_LETTERS = 1000

PATIENCE_S = 10.0
"""Real seconds, spent only by a store that breaks a promise."""


async def tells_of_recent_jobs(bench: Bench) -> None:
    """The newest first, by status, by user, and no more than asked for."""
    for n, user in enumerate(("ann", "ben", "ann", "ben", "ann")):
        await bench.submit(bench.job(f"job-{n}", user=user))
    (lease,) = await bench.lease()
    await bench.store.settle(lease.token, DONE)
    recent = bench.store.recent
    assert [record.job.id for record in await recent(limit=2)] == ["job-4", "job-3"]
    assert [record.job.id for record in await recent(user_id="ben")] == ["job-3", "job-1"]
    assert [record.job.id for record in await recent(status=Status.COMPLETED)] == ["job-0"]
    assert await recent(status=Status.COMPLETED, user_id="ben") == []
    assert await bench.store.find("nobody") is None


async def keeps_events(bench: Bench) -> None:
    """Events are numbered within their job, read from a number on, and survive a restart."""
    await bench.submit(bench.job("a"), bench.job("b"))
    await bench.store.record("b", EventKind.ACCEPTED, {})
    data: Metadata = {"step": 3, "eta_s": 1.5, "stage": "decode", "first": True, "note": None}
    for n in range(4):
        bench.clock.jump(1)
        event = await bench.store.record("a", EventKind.PROGRESS, data)
        assert (event.seq, event.at, event.data) == (n + 1, bench.clock.now(), data)
    await bench.reopen()
    kept = await bench.store.events("a", after=2)
    assert [(event.seq, event.kind, event.data) for event in kept] == [
        (3, EventKind.PROGRESS, data),
        (4, EventKind.PROGRESS, data),
    ]
    assert await bench.store.events("a", after=4) == []
    assert await bench.store.events("nobody") == []


async def bounds_events(bench: Bench) -> None:
    """A job's history is bounded: the newest are kept, without a gap."""
    await bench.submit(bench.job("a"))
    await asyncio.gather(
        *(bench.store.record("a", EventKind.PROGRESS, {"step": n}) for n in range(MANY_EVENTS))
    )
    numbers = [event.seq for event in await bench.store.events("a")]
    assert numbers == list(range(numbers[0], MANY_EVENTS + 1))
    assert 100 <= len(numbers) < MANY_EVENTS


async def knows_whose_events(bench: Bench) -> None:
    """An event of a job that is not kept is refused."""
    try:
        await bench.store.record("nobody", EventKind.PROGRESS, {})
    except NotFound:
        return
    raise AssertionError("an event of nobody's was kept")


async def buries(bench: Bench) -> None:
    """Dead letters are kept byte for byte, newest first, the newest thousand (Q-21)."""
    letters = [
        DeadLetter(
            job_id=None if n % 2 else f"job-{n}",
            raw=b"\xff\x00[" + str(n).encode(),
            reason="not JSON",
            code="INVALID_REQUEST",
            tries=n,
            at=bench.clock.now(),
        )
        for n in range(KEPT_LETTERS + 5)
    ]
    await asyncio.gather(*map(bench.store.bury, letters))
    assert unnamed(await bench.store.dead(3)) == letters[:-4:-1]
    await bench.reopen()
    kept = await bench.store.dead(2 * KEPT_LETTERS)
    assert unnamed(kept) == letters[: -KEPT_LETTERS - 1 : -1]
    assert len({letter.id for letter in kept} - {""}) == KEPT_LETTERS


async def replays(bench: Bench) -> None:
    """A dead letter's job lives anew: same request, no trace of its first life (Q-21)."""
    lease = await bench.held("a")
    await bench.store.record("a", EventKind.STARTED, {})
    await _bury(bench, lease.token)
    await _bury(bench, (await bench.held("b")).token)
    bench.clock.jump(3)
    other, letter = await bench.store.dead()
    assert (letter.job_id, other.job_id) == ("a", "b")
    assert await bench.store.replay(letter.id) == "a"
    assert await bench.store.dead() == [other]
    record = await bench.find("a")
    assert (record.status, record.tries, record.code) == (Status.WAITING, 0, None)
    assert await bench.store.events("a") == []
    (again,) = await bench.lease()
    assert again.job == replace(lease.job, submitted_at=bench.clock.now())
    assert (again.tries, again.token.fence > lease.token.fence) == (1, True)
    assert await is_lost(bench.store.settle(lease.token, DONE))
    await bench.store.settle(again.token, DONE)
    assert (await bench.find("a")).status is Status.COMPLETED
    assert await _refusal(bench, letter.id) is NotFound


async def replays_what_may_be(bench: Bench) -> None:
    """Not twice at once, not what completed since, and not before all is told that is owed."""
    lease = await bench.held("a")
    await _bury(bench, lease.token, callback=b"0")
    (first,) = await bench.store.dead()
    assert await _refusal(bench, first.id) is Conflict
    (row,) = await bench.due()
    await bench.store.give_up(row, "HTTP 410")
    await bench.store.replay(first.id)
    assert await bench.store.dead_callbacks() == []
    (lease,) = await bench.lease()
    bench.clock.jump(1)
    await _bury(bench, lease.token)
    (second,) = await bench.store.dead()
    await bench.store.bury(second)
    newest, _ = await bench.store.dead()
    await bench.store.replay(newest.id)
    (left,) = await bench.store.dead()
    assert await _refusal(bench, left.id) is Conflict
    (lease,) = await bench.lease()
    assert await _refusal(bench, left.id) is Conflict
    await bench.store.settle(lease.token, DONE)
    assert await _refusal(bench, left.id) is Conflict
    assert await bench.store.dead() == [left]
    assert await _refusal(bench, "nothing") is NotFound


async def wakes_for_work(bench: Bench) -> None:
    """A new job, a job given back and a swept one each wake whoever waits."""
    await _drain(bench)
    assert await _woken(bench, bench.submit(bench.job("a")))
    (lease,) = await bench.lease()
    assert await _woken(bench, bench.store.requeue(lease.token, burn=True))
    await bench.lease()
    bench.clock.jump(TTL_S)
    assert await _woken(bench, bench.store.sweep())
    await bench.submit(bench.job("b"))
    waiter = asyncio.create_task(bench.store.changed(5))
    assert await _answer(waiter), "a change that nobody waited for was forgotten"


async def wakes_all_who_wait(bench: Bench) -> None:
    """Everybody who waits at a change is woken; one who gave up waiting takes nothing along."""
    await _drain(bench)
    waiters = [asyncio.create_task(bench.store.changed(50)) for _ in range(3)]
    await bench.clock.advance(1)
    waiters[0].cancel()
    await bench.submit(bench.job("a"))
    assert [await _answer(waiter) for waiter in waiters[1:]] == [True, True]
    assert waiters[0].cancelled()


async def wakes_in_time(bench: Bench) -> None:
    """A delayed job wakes whoever waits when its time has come, and not before."""
    await _drain(bench)
    lease = await bench.held("a")
    await _drain(bench)
    waiter = asyncio.create_task(bench.store.changed(60))
    await bench.clock.advance(1)
    await bench.store.requeue(lease.token, burn=True, delay_s=20)
    await bench.clock.advance(19)
    assert not waiter.done()
    await bench.clock.advance(1)
    assert await _answer(waiter)
    assert ids(await bench.lease()) == ["a"]


async def stops_waiting(bench: Bench) -> None:
    """Without work the wait ends at its time-out, or at once when there is none."""
    await _drain(bench)
    assert not await bench.store.changed(0)
    waiter = asyncio.create_task(bench.store.changed(5))
    await bench.clock.advance(4.9)
    assert not waiter.done()
    await bench.clock.advance(0.2)
    assert not await _answer(waiter)
    assert await bench.store.lease("pod", dict.fromkeys(Lane, 1), TTL_S) == []


HISTORY_PROMISES: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    tells_of_recent_jobs,
    keeps_events,
    bounds_events,
    knows_whose_events,
    buries,
    replays,
    replays_what_may_be,
    wakes_for_work,
    wakes_all_who_wait,
    wakes_in_time,
    stops_waiting,
)


async def _bury(bench: Bench, token: Token, *, callback: bytes | None = None) -> None:
    """A job ends in the dead letters."""
    end = Settlement(
        status=Status.FAILED,
        code="GENERATION_ERROR",
        sentence="It broke.",
        callback=callback,
        dead=True,
    )
    await bench.store.settle(token, end)


async def _refusal(bench: Bench, letter_id: str) -> type[RequestError] | None:
    """The class of the error with which a replay is refused."""
    try:
        await bench.store.replay(letter_id)
    except RequestError as error:
        return type(error)
    return None


async def _drain(bench: Bench) -> None:
    """Hear what has changed until now."""
    for _ in range(9):
        if not await bench.store.changed(0):
            return
    raise AssertionError("one change is told for ever")


async def _woken(bench: Bench, work: Awaitable[object]) -> bool:
    waiter = asyncio.create_task(bench.store.changed(50))
    await bench.clock.advance(0)
    await work
    return await _answer(waiter)


async def _answer(waiter: asyncio.Task[bool]) -> bool:
    """What a waiter was told; one that is never told anything breaks the promise."""
    return await asyncio.wait_for(waiter, PATIENCE_S)
