"""What every queue promises about jobs and leases, one plain example each.

`PROMISES` holds them and those of `outbox_promises.py` and `history_promises.py`; each takes an
open `Bench` and raises `AssertionError` where the promise is broken.
"""

import asyncio
from collections.abc import Awaitable, Callable

from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.errors import Conflict, QueueUnavailable
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue import Settlement
from ourvidz_worker.testing.history_promises import HISTORY_PROMISES
from ourvidz_worker.testing.outbox_promises import OUTBOX_PROMISES
from ourvidz_worker.testing.queue_bench import DONE, TTL_S, Bench, ids, is_lost, stale

Promise = Callable[[Bench], Awaitable[None]]


async def accepts_an_id_once(bench: Bench) -> None:
    """The same bytes are found, other bytes are refused, also after the job's end (I7)."""
    job = bench.job("a", payload=b'{"prompt":"\xc3\xa9\\u0000"}')
    await bench.submit(job)
    assert await bench.store.submit(job) == "existing"
    (lease,) = await bench.lease()
    assert lease.job == job
    await bench.store.settle(lease.token, DONE)
    assert await bench.store.submit(job, callback=b"{}") == "existing"
    assert await bench.lease() == []
    assert await bench.store.owed() == 0
    try:
        await bench.store.submit(bench.job("a", payload=b"{}"))
    except Conflict:
        return
    raise AssertionError("another payload under the same id was accepted")


async def keeps_order(bench: Bench) -> None:
    """By class, then first in, first out (I4)."""
    await bench.submit(
        bench.job("late", priority=PriorityClass.BACKGROUND),
        bench.job("first"),
        bench.job("second"),
        bench.job("now", priority=PriorityClass.INTERACTIVE),
    )
    assert ids(await bench.lease(3)) == ["now", "first", "second"]
    assert ids(await bench.lease(3)) == ["late"]
    assert ids(await bench.lease(3)) == []


async def keeps_lanes_apart(bench: Bench) -> None:
    """Each lane gives what was wanted of it, and the depths tell what is left (I2)."""
    for lane in Lane:
        await bench.submit(*(bench.job(f"{lane}-{n}", lane=lane) for n in range(3)))
    leases = await bench.store.lease("pod", {Lane.VIDEO: 2, Lane.CHAT: 1}, TTL_S)
    assert ids(leases) == ["video-0", "video-1", "chat-0"]
    assert await bench.store.depths() == {
        Lane.CHAT: Depth(waiting=2, leased=1),
        Lane.IMAGE: Depth(waiting=3, leased=0),
        Lane.VIDEO: Depth(waiting=1, leased=2),
        Lane.ADMIN: Depth(waiting=3, leased=0),
    }
    assert await bench.store.lease("pod", {}, TTL_S) == []
    assert await bench.store.lease("pod", {Lane.IMAGE: 0}, TTL_S) == []


async def serves_users_in_turn(bench: Bench) -> None:
    """While k users wait, any k leases of a class serve each of them once (I10)."""
    users = ("ann", "ben", "cyd")
    for user in users:
        await bench.submit(*(bench.job(f"{user}-{n}", user=user) for n in range(7)))
    leases = [await bench.lease(1 + n % 2) for n in range(12)]
    served = [lease.job.user_id for several in leases for lease in several]
    windows = [set(served[n : n + 3]) for n in range(len(served) - 2)]
    assert windows == [set(users)] * len(windows)
    own = [lease.job.id for several in leases for lease in several if lease.job.user_id == "ben"]
    assert own == [f"ben-{n}" for n in range(len(own))]


async def lets_a_newcomer_in(bench: Bench) -> None:
    """One user's many jobs do not delay another's first."""
    await bench.submit(*(bench.job(f"many-{n}") for n in range(20)))
    await bench.lease(2)
    await bench.submit(bench.job("newcomer", user="ben"))
    assert ids(await bench.lease()) == ["newcomer"]


async def lets_nobody_wait_for_ever(bench: Bench) -> None:
    """A job of the lowest class is leased although better ones always wait (I10)."""
    await bench.submit(bench.job("patient", priority=PriorityClass.BACKGROUND))
    leased: list[str] = []
    for n in range(20):
        await bench.submit(bench.job(f"rush-{n}", priority=PriorityClass.INTERACTIVE))
        leased += ids(await bench.lease())
    assert "patient" in leased
    assert leased[:8] == [f"rush-{n}" for n in range(8)]


async def counts_tries(bench: Bench) -> None:
    """Each lease counts a try, an unburnt requeue takes it back; too many are exhausted (I6)."""
    lease = await bench.held("a")
    assert (lease.tries, lease.exhausted) == (1, False)
    await bench.store.requeue(lease.token, burn=False)
    for tries, exhausted in ((1, False), (2, False), (3, False), (4, True), (5, True)):
        (lease,) = await bench.lease()
        assert (lease.tries, lease.exhausted) == (tries, exhausted)
        assert await bench.lease() == []
        await bench.store.requeue(lease.token, burn=True)
    assert (await bench.find("a")).tries == 5


async def keeps_the_seed(bench: Bench) -> None:
    """A seed is drawn at the first lease and stays, so that a second try makes the same picture."""
    await bench.submit(*(bench.job(f"job-{n}") for n in range(8)))
    assert (await bench.find("job-0")).seed is None
    drawn = {lease.job.id: lease.seed for lease in await bench.lease(8)}
    assert all(1 <= seed <= 2_147_483_641 for seed in drawn.values())
    assert len(set(drawn.values())) == len(drawn), "eight equal seeds are no chance"
    await bench.reopen()
    assert {lease.job.id: lease.seed for lease in await bench.lease(8)} == drawn


async def renews(bench: Bench) -> None:
    """A renewed lease outlives its first term; a lapsed one is ours until it is swept (I5)."""
    lease = await bench.held("a")
    bench.clock.jump(TTL_S - 1)
    assert await bench.store.renew([lease.token, stale(lease.token)], TTL_S) == [True, False]
    bench.clock.jump(TTL_S - 1)
    assert await bench.store.sweep() == 0
    bench.clock.jump(2)
    assert await bench.lease() == []
    assert await bench.store.renew([lease.token], TTL_S) == [True]
    assert await bench.store.sweep() == 0
    bench.clock.jump(TTL_S)
    assert await bench.store.sweep() == 1
    assert await bench.store.renew([lease.token], TTL_S) == [False]


async def sweeps_to_the_front(bench: Bench) -> None:
    """Lapsed leases come back before all that waits, the oldest first (I4)."""
    await bench.submit(*(bench.job(f"job-{n}") for n in range(5)))
    await bench.lease(3)
    bench.clock.jump(TTL_S)
    assert await bench.store.sweep() == 3
    assert await bench.store.sweep() == 0
    assert ids(await bench.lease(9)) == [f"job-{n}" for n in range(5)]


async def ignores_the_wall_clock(bench: Bench) -> None:
    """A step of the wall clock neither ends a lease nor prolongs it."""
    await bench.held("a")
    bench.clock.step_wall(86_400)
    assert await bench.store.sweep() == 0
    bench.clock.step_wall(-172_800)
    bench.clock.jump(TTL_S)
    assert await bench.store.sweep() == 1


async def refuses_stale_tokens(bench: Bench) -> None:
    """A token out of date changes nothing, whatever it is used for (I3)."""
    old = await bench.held("a")
    await bench.store.requeue(old.token, burn=True)
    (new,) = await bench.lease()
    assert new.token.fence > old.token.fence
    for when in ("leased", "waiting", "ended"):
        before = await bench.state()
        assert await is_lost(bench.store.start(old.token, callback=b"{}")), when
        end = Settlement(status=Status.FAILED, callback=b"{}", dead=True)
        assert await is_lost(bench.store.settle(old.token, end)), when
        assert await is_lost(bench.store.requeue(old.token, burn=True)), when
        assert await bench.store.renew([old.token], TTL_S) == [False], when
        assert await bench.state() == before, when
        if when == "leased":
            await bench.store.requeue(new.token, burn=True)
        elif when == "waiting":
            (last,) = await bench.lease()
            await bench.store.settle(last.token, DONE)


async def grows_fences_for_ever(bench: Bench) -> None:
    """Fences grow over jobs, lanes and restarts (I3)."""
    fences = [(await bench.held("a")).token.fence]
    await bench.reopen()
    fences += [lease.token.fence for lease in await bench.lease()]
    await bench.submit(bench.job("b", lane=Lane.VIDEO))
    fences += [lease.token.fence for lease in await bench.lease(lane=Lane.VIDEO)]
    assert fences == sorted(set(fences))
    assert len(fences) == 3


async def requeues_to_the_front(bench: Bench) -> None:
    """What is given back goes first, in the order in which it was claimed (I4)."""
    await bench.submit(*(bench.job(f"job-{n}", user=f"user-{n}") for n in range(4)))
    first, second, _ = await bench.lease(3)
    await bench.store.requeue(second.token, burn=True)
    await bench.store.requeue(first.token, burn=False)
    assert ids(await bench.lease(9)) == ["job-0", "job-1", "job-3"]


async def delays(bench: Bench) -> None:
    """A delayed job is passed over until its time, then goes first."""
    lease = await bench.held("a")
    await bench.store.requeue(lease.token, burn=True, delay_s=30)
    await bench.submit(bench.job("b"), bench.job("c"))
    assert ids(await bench.lease()) == ["b"]
    assert (await bench.store.depths())[Lane.IMAGE] == Depth(waiting=2, leased=1)
    bench.clock.jump(30)
    assert ids(await bench.lease(2)) == ["a", "c"]


async def settles_whole(bench: Bench) -> None:
    """Status, receipt, assets, facts, letter and callback are there together (I8)."""
    lease = await bench.held("a")
    end = Settlement(
        status=Status.FAILED,
        assets=(Asset(index=0, media=Media.IMAGE, key="u/a/0.png", metadata={"seed": 7}),),
        receipt=Receipt(job_id="a", attempt=1, seed=7, peak_bytes=1 << 40),
        code="OOM_ERROR",
        sentence="The device ran out of memory.",
        facts={"attempts": 1, "load_time": 0.5, "warning": None, "fallback_used": False},
        callback=b'{"status":"failed"}',
        dead=True,
    )
    bench.clock.jump(5)
    await bench.store.settle(lease.token, end)
    record = await bench.find("a")
    assert record.status is Status.FAILED
    assert record.settled_at == bench.clock.now()
    assert (record.assets, record.receipt, record.facts) == (end.assets, end.receipt, end.facts)
    assert (record.code, record.sentence) == (end.code, end.sentence)
    assert [(row.status, row.body) for row in await bench.due()] == [("failed", end.callback)]
    (letter,) = await bench.store.dead()
    assert (letter.job_id, letter.raw, letter.tries) == ("a", lease.job.payload, 1)
    assert (letter.code, letter.reason) == (end.code, end.sentence)
    await bench.reopen()
    assert await bench.find("a") == record
    assert await bench.lease() == []


async def cancels_what_waits(bench: Bench) -> None:
    """A waiting job ends at once, with the callback it owes; its neighbours are not touched."""
    await bench.submit(bench.job("a"), bench.job("b"), bench.job("c"))
    assert await bench.store.cancel("a", callback=b"{}") == "cancelled"
    assert await bench.store.cancel("c") == "cancelled"
    assert await bench.store.cancel("a", callback=b"again") == "terminal"
    assert await bench.store.cancel("nobody") == "unknown"
    assert (await bench.find("a")).status is Status.CANCELLED
    assert [(row.job_id, row.status, row.body) for row in await bench.due()] == [
        ("a", "cancelled", b"{}")
    ]
    assert ids(await bench.lease(9)) == ["b"]


async def asks_the_holder_to_stop(bench: Bench) -> None:
    """A leased job is marked; its holder may still end it as it likes."""
    lease = await bench.held("a")
    assert await bench.store.cancel("a", callback=b"unused") == "requested"
    assert (await bench.find("a")).cancel_requested
    assert (await bench.find("a")).status is Status.LEASED
    await bench.store.settle(lease.token, Settlement(status=Status.CANCELLED))
    assert (await bench.find("a")).status is Status.CANCELLED
    assert await bench.store.owed() == 0


async def never_runs_what_was_cancelled(bench: Bench) -> None:
    """A job that is given back after its caller cancelled it ends, whoever gives it back."""
    requeued = await bench.held("requeued")
    await bench.held("swept")
    for job_id in ("requeued", "swept"):
        assert await bench.store.cancel(job_id, callback=job_id.encode()) == "requested"
        assert await bench.store.cancel(job_id, callback=b"asked again") == "requested"
    await bench.store.requeue(requeued.token, burn=False)
    bench.clock.jump(TTL_S)
    assert await bench.store.sweep() == 1
    await bench.held("reopened")
    assert await bench.store.cancel("reopened", callback=b"reopened") == "requested"
    await bench.reopen()
    for job_id in ("requeued", "swept", "reopened"):
        assert (await bench.find(job_id)).status is Status.CANCELLED
        assert [event.kind for event in await bench.store.events(job_id)] == [EventKind.CANCELLED]
    assert [row.body for row in await bench.due()] == [b"requeued", b"swept", b"reopened"]
    assert await bench.lease() == []


async def survives_a_restart(bench: Bench) -> None:
    """Opening gives every lease back at once, oldest first, the try counted, delays ended (I5)."""
    await bench.submit(*(bench.job(f"job-{n}") for n in range(5)))
    first, second, third = await bench.lease(3)
    await bench.store.start(first.token)
    await bench.store.requeue(third.token, burn=True, delay_s=3600)
    await bench.reopen()
    assert await is_lost(bench.store.settle(second.token, DONE))
    assert (await bench.store.depths())[Lane.IMAGE] == Depth(waiting=5, leased=0)
    leases = await bench.lease(9)
    assert ids(leases) == [f"job-{n}" for n in range(5)]
    assert [lease.tries for lease in leases] == [2, 2, 2, 1, 1]


async def serves_many_at_once(bench: Bench) -> None:
    """Calls that overlap lease each job once and lose none (I1)."""
    await asyncio.gather(*(bench.store.submit(bench.job(f"job-{n}")) for n in range(60)))
    several = await asyncio.gather(*(bench.lease(3) for _ in range(30)))
    leases = [lease for some in several for lease in some]
    assert len(leases) == len(set(ids(leases))) == 60
    twice = [bench.store.settle(lease.token, DONE) for lease in leases for _ in range(2)]
    settled = await asyncio.gather(*twice, return_exceptions=True)
    assert [outcome is None for outcome in settled] == [True, False] * 60
    assert {record.status for record in await bench.store.recent(limit=100)} == {Status.COMPLETED}


async def says_when_it_is_closed(bench: Bench) -> None:
    """A closed store answers `QueueUnavailable`; closing twice is no error."""
    await bench.store.close()
    await bench.store.close()
    for work in (bench.store.submit(bench.job("a")), bench.store.sweep(), bench.store.owed()):
        try:
            await work
        except QueueUnavailable:
            continue
        raise AssertionError("a closed store answered")


PROMISES: tuple[Promise, ...] = (
    accepts_an_id_once,
    keeps_order,
    keeps_lanes_apart,
    serves_users_in_turn,
    lets_a_newcomer_in,
    lets_nobody_wait_for_ever,
    counts_tries,
    keeps_the_seed,
    renews,
    sweeps_to_the_front,
    ignores_the_wall_clock,
    refuses_stale_tokens,
    grows_fences_for_ever,
    requeues_to_the_front,
    delays,
    settles_whole,
    cancels_what_waits,
    asks_the_holder_to_stop,
    never_runs_what_was_cancelled,
    survives_a_restart,
    serves_many_at_once,
    says_when_it_is_closed,
    *OUTBOX_PROMISES,
    *HISTORY_PROMISES,
)
