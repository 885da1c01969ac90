"""What every queue promises about the callbacks it owes, one plain example each."""

from collections.abc import Awaitable, Callable

from ourvidz_worker.domain.errors import Conflict
from ourvidz_worker.domain.job import Status
from ourvidz_worker.queue import CallbackRow, Settlement
from ourvidz_worker.testing.queue_bench import Bench

DAY_S = 86_400.0


async def owes_in_order(bench: Bench) -> None:
    """A job's callbacks come one by one, in the order of its life (I8, K-10)."""
    await bench.store.submit(bench.job("a"), callback=b"0")
    (lease,) = await bench.lease()
    await bench.store.start(lease.token, callback=b"1")
    await bench.store.settle(lease.token, _end(b"2"))
    told = []
    while rows := await bench.due():
        (row,) = rows
        told.append((row.status, row.body))
        await bench.store.delivered(row)
    assert told == [("queued", b"0"), ("processing", b"1"), ("completed", b"2")]
    assert await bench.store.owed() == 0
    assert await bench.store.next_due_in() is None


async def owes_the_start_once(bench: Bench) -> None:
    """However often a job is tried, `processing` is owed once; the newest start is noted."""
    lease = await bench.held("a")
    for _ in range(2):
        bench.clock.jump(1)
        await bench.store.start(lease.token, callback=b"{}")
        assert (await bench.find("a")).started_at == bench.clock.now()
        await bench.store.requeue(lease.token, burn=True)
        (lease,) = await bench.lease()
    assert [row.status for row in await bench.due()] == ["processing"]
    assert await bench.store.owed() == 1


async def owes_nothing_unasked(bench: Bench) -> None:
    """Without a body nothing is owed; an empty body is a body."""
    lease = await bench.held("a")
    await bench.store.start(lease.token)
    await bench.store.settle(lease.token, Settlement(status=Status.COMPLETED))
    assert await bench.store.owed() == 0
    lease = await bench.held("b")
    await bench.store.settle(lease.token, _end(b""))
    assert [row.body for row in await bench.due()] == [b""]


async def never_overtakes(bench: Bench) -> None:
    """While a job's first callback waits, its later ones wait too; other jobs do not."""
    first, _ = await _two_owed(bench)
    await bench.store.postpone(first, 30, "HTTP 503")
    assert [row.job_id for row in await bench.due()] == ["b"]
    bench.clock.jump(30)
    assert [(row.job_id, row.status, row.tries) for row in await bench.due()] == [
        ("b", "completed", 0),
        ("a", "processing", 1),
    ]


async def counts_the_tries_of_callbacks(bench: Bench) -> None:
    """Each postponement counts, and the same bytes come again."""
    first, other = await _two_owed(bench)
    await bench.store.delivered(other)
    for tries in range(1, 4):
        await bench.store.postpone(first, 2.0**tries, "no route")
        assert await bench.due() == []
        assert await bench.store.next_due_in() == 2.0**tries
        bench.clock.jump(2.0**tries)
        assert await bench.store.next_due_in() == 0
        (again,) = await bench.due()
        assert (again.id, again.body, again.tries) == (first.id, first.body, tries)
        assert again.created_at == first.created_at


async def gives_up(bench: Bench) -> None:
    """What is given up is owed no more, and what comes after it goes on."""
    first, other = await _two_owed(bench)
    await bench.store.delivered(other)
    await bench.store.give_up(first, "three times HTTP 500")
    assert [row.status for row in await bench.due()] == ["completed"]
    assert await bench.store.owed() == 1


async def keeps_what_it_gives_up(bench: Bench) -> None:
    """Dead callbacks are kept, the newest first, whole and with the reason (K-11)."""
    first, other = await _two_owed(bench)
    await bench.store.postpone(other, 0, "no route")
    await bench.store.give_up(first, "HTTP 410")
    bench.clock.jump(1)
    (again,) = [row for row in await bench.due() if row.job_id == "b"]
    await bench.store.give_up(again, "no route for a day")
    await bench.reopen()
    newest, oldest = await bench.store.dead_callbacks()
    assert (newest.job_id, newest.reason, newest.tries) == ("b", "no route for a day", 1)
    assert (oldest.job_id, oldest.status, oldest.body) == ("a", "processing", b"1")
    assert (oldest.created_at, oldest.at) == (first.created_at, newest.at - 1)
    assert await bench.store.dead_callbacks(1) == [newest]


async def revives(bench: Bench) -> None:
    """A dead callback is owed again: due at once, untried, before what its job owes after it."""
    first, other = await _two_owed(bench)
    await bench.store.delivered(other)
    await bench.store.postpone(first, 0, "HTTP 500")
    await bench.store.give_up(first, "HTTP 500")
    (dead,) = await bench.store.dead_callbacks()
    assert await bench.store.revive(dead.id)
    assert not await bench.store.revive(dead.id)
    assert await bench.store.dead_callbacks() == []
    told = []
    while rows := await bench.due():
        (row,) = rows
        told.append((row.status, row.body, row.tries))
        await bench.store.delivered(row)
    assert told == [("processing", b"1", 0), ("completed", b"2", 0)]
    assert await bench.store.owed() == 0


async def revives_an_end(bench: Bench) -> None:
    """A job's last callback may come back at any time, and may be given up again."""
    first, other = await _two_owed(bench)
    await bench.store.delivered(first)
    for reason in ("HTTP 401", "HTTP 410"):
        await bench.store.give_up(other, reason)
        (dead,) = await bench.store.dead_callbacks()
        assert dead.reason == reason
        bench.clock.jump(DAY_S)
        assert await bench.store.revive(dead.id)
        await bench.reopen()
        (again,) = [row for row in await bench.due() if row.job_id == "b"]
        assert (again.body, again.tries, again.created_at) == (b"2", 0, bench.clock.now())
    assert not await bench.store.revive(other.id + 1000)


async def revives_nothing_too_late(bench: Bench) -> None:
    """After a job's end was accepted, nothing of its course is told any more (K-10)."""
    first, _ = await _two_owed(bench)
    await bench.store.give_up(first, "HTTP 500")
    for row in await bench.due():
        await bench.store.delivered(row)
    (dead,) = await bench.store.dead_callbacks()
    try:
        await bench.store.revive(dead.id)
    except Conflict:
        assert await bench.store.dead_callbacks() == [dead]
        assert await bench.store.owed() == 0
        return
    raise AssertionError("`processing` was owed after the end")


async def strikes_once(bench: Bench) -> None:
    """A row that is gone stays gone and takes nothing with it, whatever is said of it."""
    first, other = await _two_owed(bench)
    await bench.store.delivered(first)
    before = await bench.state()
    await bench.store.delivered(first)
    await bench.store.postpone(first, DAY_S, "late")
    await bench.store.give_up(first, "late")
    assert await bench.state() == before
    assert await bench.store.owed() == 2
    assert other.id not in {first.id}


async def numbers_rows_for_ever(bench: Bench) -> None:
    """A row's number is never given again, also when the newest row was struck out."""
    seen: list[int] = []
    for n in range(3):
        await bench.store.submit(bench.job(f"job-{n}"), callback=b"{}")
        (row,) = await bench.due()
        seen.append(row.id)
        await bench.store.delivered(row)
        await bench.reopen()
    assert seen == sorted(set(seen))


async def replays_at_start(bench: Bench) -> None:
    """Callbacks survive a restart, with their tries, and are due at once, in order (K-11)."""
    first, other = await _two_owed(bench)
    await bench.store.postpone(first, DAY_S, "HTTP 401")
    await bench.store.postpone(other, DAY_S, "HTTP 401")
    assert await bench.due() == []
    await bench.reopen()
    assert await bench.store.next_due_in() == 0
    rows = await bench.due()
    assert [(row.job_id, row.body, row.tries) for row in rows] == [("a", b"1", 1), ("b", b"2", 1)]
    assert await bench.store.owed() == 3


async def hands_out_a_few(bench: Bench) -> None:
    """At most `limit` rows, the longest due first."""
    for n in range(6):
        await bench.store.submit(bench.job(f"job-{n}"), callback=b"{}")
    assert [row.job_id for row in await bench.store.due(4)] == [f"job-{n}" for n in range(4)]
    assert await bench.store.owed() == 6


OUTBOX_PROMISES: tuple[Callable[[Bench], Awaitable[None]], ...] = (
    owes_in_order,
    owes_the_start_once,
    owes_nothing_unasked,
    never_overtakes,
    counts_the_tries_of_callbacks,
    gives_up,
    keeps_what_it_gives_up,
    revives,
    revives_an_end,
    revives_nothing_too_late,
    strikes_once,
    numbers_rows_for_ever,
    replays_at_start,
    hands_out_a_few,
)


async def _two_owed(bench: Bench) -> tuple[CallbackRow, CallbackRow]:
    """Job a owes `processing` and `completed`, job b `completed`; the first of each."""
    lease = await bench.held("a")
    await bench.store.start(lease.token, callback=b"1")
    await bench.store.settle(lease.token, _end(b"2"))
    lease = await bench.held("b")
    await bench.store.settle(lease.token, _end(b"2"))
    first, other = await bench.due()
    return first, other


def _end(callback: bytes) -> Settlement:
    return Settlement(status=Status.COMPLETED, callback=callback)
