import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue import QueueSettings, Settlement, sqlite_history, sqlite_turns
from ourvidz_worker.queue.sqlite import SqliteQueue
from ourvidz_worker.queue.sqlite_store import Safety
from ourvidz_worker.testing.queue_bench import DONE, Bench, ids

A_SECOND_OF_CLAIMS = 100_000

pytestmark = pytest.mark.anyio


def make(folder: Path, clock: Clock) -> SqliteQueue:
    return SqliteQueue(QueueSettings(state_dir=folder), clock)


def make_for_one_try(folder: Path, clock: Clock) -> SqliteQueue:
    return SqliteQueue(QueueSettings(state_dir=folder, max_tries=1), clock)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Bench(make, tmp_path) as bench:
        yield bench


def _rows(folder: Path, sql: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "queue.sqlite")) as connection:
        return connection.execute(sql).fetchall()


async def test_the_most_tries_can_be_set(tmp_path: Path) -> None:
    async with Bench(make_for_one_try, tmp_path) as bench:
        lease = await bench.held("a")
        assert not lease.exhausted
        await bench.store.requeue(lease.token, burn=True)
        (lease,) = await bench.lease()
        assert lease.exhausted


async def test_fences_leap_at_a_start(bench: Bench) -> None:
    first = await bench.held("a")
    await bench.reopen()
    (second,) = await bench.lease()
    assert second.token.fence > first.token.fence + A_SECOND_OF_CLAIMS


async def test_a_callback_given_up_is_kept_with_its_reason(bench: Bench, tmp_path: Path) -> None:
    await bench.store.submit(bench.job("a"), callback=b"{}")
    (row,) = await bench.due()
    await bench.store.postpone(row, 0, "HTTP 500")
    await bench.store.give_up(row, "HTTP 410")
    kept = _rows(tmp_path, "SELECT job_id, status, body, tries, reason FROM dead_callbacks")
    assert kept == [("a", "queued", b"{}", 1, "HTTP 410")]


async def test_a_sweep_forgets_the_oldest_ends(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_history, "KEPT_JOBS", 3)
    monkeypatch.setattr(sqlite_history, "KEPT_HISTORIES", 2)
    monkeypatch.setattr(sqlite_history, "BATCH", 2)
    await bench.submit(bench.job("waits", user="ben"))
    await bench.lease()
    for n in range(6):
        lease = await bench.held(f"job-{n}")
        await bench.store.record(f"job-{n}", EventKind.STARTED, {})
        await bench.store.settle(lease.token, DONE)
    await bench.store.sweep()
    assert len(await bench.store.recent()) == 5
    for _ in range(3):
        await bench.store.sweep()
    kept = [record.job.id for record in await bench.store.recent()]
    assert kept == ["job-5", "job-4", "job-3", "waits"]
    assert await bench.store.find("job-0") is None
    assert [len(await bench.store.events(f"job-{n}")) for n in (3, 4, 5)] == [0, 1, 1]
    for table, count in (("jobs", 4), ("bodies", 4), ("ends", 3), ("events", 2)):
        assert _rows(tmp_path, f"SELECT count(*) FROM {table}") == [(count,)]


async def test_a_sweep_forgets_users_long_served(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_history, "KEPT_USERS", 2)
    for user in ("ann", "ben", "cyd", "dan"):
        await bench.submit(bench.job(f"job-{user}", user=user))
    await bench.lease(3)
    await bench.store.sweep()
    users = _rows(tmp_path, "SELECT user_id FROM turns ORDER BY user_id")
    assert users == [("ben",), ("cyd",), ("dan",)]
    assert ids(await bench.lease()) == ["job-dan"]


async def test_events_are_a_ring(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite_history, "KEPT_EVENTS", 3)
    await bench.submit(bench.job("a"))
    for n in range(5):
        await bench.store.record("a", EventKind.PROGRESS, {"step": n})
    assert [event.seq for event in await bench.store.events("a")] == [3, 4, 5]


async def test_a_settle_on_a_full_disk_can_be_repeated(bench: Bench) -> None:
    lease = await bench.held("a")
    end = Settlement(status=Status.COMPLETED, facts={"note": "x" * 200_000}, callback=b"{}")
    store = bench.store
    assert isinstance(store, SqliteQueue)
    await _limit_pages(store, 0)
    with pytest.raises(QueueUnavailable):
        await store.settle(lease.token, end)
    assert (await bench.find("a")).status is Status.LEASED
    assert await store.owed() == 0
    await _limit_pages(store, 10_000)
    await store.settle(lease.token, end)
    assert (await bench.find("a")).facts == end.facts


@pytest.mark.parametrize(
    "sql",
    [
        sqlite_turns._NEXT_FRESH,
        sqlite_turns._NEXT_RETURNED,
        sqlite_turns._TURN,
        "SELECT * FROM records WHERE id = ?",
        "SELECT id FROM outbox WHERE first = 1 AND due <= ? ORDER BY due, id LIMIT ?",
    ],
)
async def test_the_hot_path_reads_no_table_through(bench: Bench, tmp_path: Path, sql: str) -> None:
    await bench.submit(bench.job("a"))
    with closing(sqlite3.connect(tmp_path / "queue.sqlite")) as connection:
        values = ("1",) * sql.count("?")
        plan = connection.execute(f"EXPLAIN QUERY PLAN {sql}", values).fetchall()
    assert plan
    assert [step[3] for step in plan if "SCAN" in step[3] or "B-TREE" in step[3]] == []


async def test_a_deep_queue_is_leased_in_turn(bench: Bench) -> None:
    for n in range(300):
        user, priority = f"user-{n % 7}", PriorityClass(n % 3)
        await bench.submit(bench.job(f"job-{n}", user=user, priority=priority, lane=Lane.VIDEO))
    leased = ids(await bench.lease(400, lane=Lane.VIDEO))
    assert sorted(leased) == sorted(f"job-{n}" for n in range(300))


async def _limit_pages(queue: SqliteQueue, more: int) -> None:
    def limit(connection: sqlite3.Connection) -> None:
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count={pages + more}").fetchone()

    await queue._store.do(Safety.READ, limit)
