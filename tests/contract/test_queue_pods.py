"""Several pods on one application's lists: none disturbs another, and none is missed for long."""

import asyncio
import hashlib
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.contract.list_bench import SDXL, TTL_S, WAN, Lists, as_pushed, job, lease

from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import Settlement, Store
from ourvidz_worker.testing.queue_bench import DONE, ids, is_lost
from ourvidz_worker.testing.queue_stores import QueueStores

pytestmark = pytest.mark.anyio

END = Settlement(status=Status.COMPLETED, callback=b'{"status":"completed"}')


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueStores]:
    with QueueStores(tmp_path_factory.mktemp("servers")) as stores:
        yield stores


@pytest.fixture(params=["redis", "upstash"])
async def lists(
    request: pytest.FixtureRequest, stores: QueueStores, tmp_path: Path
) -> AsyncIterator[Lists]:
    lists = Lists(request.param, stores, tmp_path)
    yield lists
    await lists.close()


async def told(store: Store) -> list[tuple[str, str]]:
    """Deliver all that is due; what it was."""
    heard = []
    while rows := await store.due(100):
        for row in rows:
            heard.append((row.job_id, row.status))
            await store.delivered(row)
    return heard


async def test_pods_share_the_jobs_and_no_job_runs_twice(lists: Lists) -> None:
    """I1, I3: many claims at once, each job once, fences all different."""
    lists.push(SDXL, *(job(f"job-{n}") for n in range(40)))
    pods = [await lists.pod(name) for name in ("one", "two", "three")]
    several = await asyncio.gather(*(lease(pod, count=2) for pod in pods for _ in range(8)))
    leases = [each for some in several for each in some]
    assert sorted(ids(leases)) == sorted(f"job-{n}" for n in range(40))
    assert len({each.token.fence for each in leases}) == 40
    assert lists.client.llen(SDXL) == 0


async def test_a_pod_that_starts_takes_nothing_from_another(lists: Lists) -> None:
    """I5: only its own former life's leases come back; another's token stays good."""
    lists.push(SDXL, job("a"), job("b"))
    one = await lists.pod("one")
    (held,) = await lease(one)
    two = await lists.pod("two")
    await two.sweep()
    assert ids(await lease(two, count=9)) == ["b"]
    assert await two.renew([held.token], TTL_S) == [False]
    assert await is_lost(two.settle(held.token, DONE))
    assert await one.renew([held.token], TTL_S) == [True]
    await one.settle(held.token, DONE)
    record = await two.find("a")
    assert record is not None
    assert record.status is Status.COMPLETED


async def test_a_pod_that_comes_back_gives_back_what_it_held_at_once(lists: Lists) -> None:
    """Without waiting for the lease to lapse, oldest first, the try counted."""
    lists.push(SDXL, job("a"), job("b"), job("c"))
    one, two = await lists.pod("one"), await lists.pod("two")
    await lease(one, count=2)
    await one.close()
    assert ids(await lease(two)) == ["c"]
    again = await lists.pod("one")
    leases = await lease(again, count=9)
    assert ids(leases) == ["a", "b"]
    assert [each.tries for each in leases] == [2, 2]


async def test_a_dead_pods_job_runs_again_after_its_lease(lists: Lists) -> None:
    """I5, Q-7: any pod's sweep gives it back to the left; the zombie's token is worth nothing."""
    lists.push(SDXL, job("a"), job("b"))
    one, two = await lists.pod("one"), await lists.pod("two")
    (lost,) = await lease(one)
    lists.clock.jump(TTL_S - 1)
    assert await two.sweep() == 0
    lists.clock.jump(1)
    assert await two.sweep() == 1
    assert lists.waiting(SDXL) == [as_pushed(job("a")), as_pushed(job("b"))]
    (again,) = await lease(two)
    assert (again.job.id, again.tries, again.seed) == ("a", 2, lost.seed)
    assert await is_lost(one.start(lost.token, callback=b"{}"))
    assert await is_lost(one.settle(lost.token, END))
    assert await one.owed() == 0
    await two.settle(again.token, END)
    assert await told(two) == [("a", "completed")]


async def test_a_job_tried_too_often_is_handed_out_to_be_failed(lists: Lists) -> None:
    """Q-7, I6: once, to one pod, and never to nobody."""
    lists.push(SDXL, job("a"))
    pods = [await lists.pod("one"), await lists.pod("two")]
    for n in range(3):
        (held,) = await lease(pods[n % 2])
        assert not held.exhausted
        lists.clock.jump(TTL_S)
        assert await pods[0].sweep() == 1
    (held,) = await lease(pods[1])
    assert held.exhausted
    assert held.tries == 4
    assert await lease(pods[0]) == []


async def test_processing_is_told_by_whoever_works(lists: Lists) -> None:
    """K-10: a pod that lost the job tells nothing of it; its successor tells it instead."""
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    (lost,) = await lease(one)
    await one.start(lost.token, callback=b"1")
    lists.clock.jump(TTL_S)
    await two.sweep()
    (held,) = await lease(two)
    await two.start(held.token, callback=b"2")
    await two.settle(held.token, END)
    assert await told(one) == []
    assert await one.owed() == 0
    assert await told(two) == [("a", "processing"), ("a", "completed")]


async def test_processing_is_told_once_however_many_pods_try(lists: Lists) -> None:
    """K-10: what one pod has told, its successor does not tell again."""
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    (lost,) = await lease(one)
    await one.start(lost.token, callback=b"1")
    assert await told(one) == [("a", "processing")]
    await one.requeue(lost.token, burn=True)
    (held,) = await lease(two)
    await two.start(held.token, callback=b"2")
    await two.settle(held.token, END)
    assert await told(two) == [("a", "completed")]


async def test_what_a_dead_pod_owes_is_told_by_another(lists: Lists) -> None:
    """Q-6, K-11: the job ran and is not run again; its callback is told once, with its bytes."""
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    (held,) = await lease(one)
    await one.settle(held.token, END)
    assert lists.client.llen(SDXL) == 0
    assert (await one.depths())[Lane.IMAGE] == Depth(waiting=0, leased=0)
    lists.clock.jump(59)
    await two.sweep()
    assert await two.owed() == 0
    lists.clock.jump(1)
    await two.sweep()
    (row,) = await two.due(9)
    assert (row.job_id, row.status, row.body) == ("a", "completed", END.callback)
    assert await one.due(9) == [], "the pod that was taken for dead still tells it"
    assert await one.owed() == 0
    await two.delivered(row)
    assert lists.client.get("worker:done:a") == b"completed"
    assert await lease(two) == []
    assert lists.leftovers() == set()


async def test_a_living_pod_keeps_what_it_owes(lists: Lists) -> None:
    """However long the receiver is down, as long as the pod sweeps."""
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    (held,) = await lease(one)
    await one.settle(held.token, END)
    for _ in range(10):
        lists.clock.jump(30)
        await one.sweep()
        await two.sweep()
    assert await two.owed() == 0
    assert await told(one) == [("a", "completed")]


async def test_a_pod_that_comes_back_tells_what_it_owed(lists: Lists) -> None:
    """K-11: also what its file does not know of, since it died before that was written."""
    lists.push(SDXL, job("a"), job("b"))
    one = await lists.pod("one")
    first, second = await lease(one, count=2)
    await one.settle(first.token, END)
    await one.settle(second.token, END)
    await one.close()
    with closing(sqlite3.connect(lists.folder / "one" / "outbox.sqlite")) as file, file:
        file.execute("DELETE FROM outbox WHERE job_id = 'b'")
    again = await lists.pod("one")
    assert sorted(await told(again)) == [("a", "completed"), ("b", "completed")]
    assert await again.owed() == 0


async def test_a_cancelled_job_of_a_dead_pod_ends(lists: Lists) -> None:
    """A job that its caller cancelled ends at the sweep, with the callback asked for."""
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    await lease(one)
    assert await two.cancel("a", callback=b"{}") == "requested"
    lists.clock.jump(TTL_S)
    assert await two.sweep() == 1
    assert await told(two) == [("a", "cancelled")]
    assert [event.kind for event in await one.events("a")] == [EventKind.CANCELLED]
    assert await lease(two) == []


async def test_events_and_records_are_every_pods(lists: Lists) -> None:
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    (held,) = await lease(one)
    await one.record("a", EventKind.STARTED, {"step": 1})
    await two.record("a", EventKind.PROGRESS, {"step": 2})
    assert [event.seq for event in await one.events("a")] == [1, 2]
    assert [record.job for record in await two.recent()] == [held.job]


async def test_leftovers_of_the_reference_mechanism_are_adopted(lists: Lists) -> None:
    """Q-7: unleased in two scans 60 s apart goes to the left; what is leased stays."""
    left, leased = as_pushed(job("left", "video_fast")), as_pushed(job("leased", "video_fast"))
    lists.client.rpush(f"{WAN}:processing", leased, left)
    lists.client.set(f"worker:lease:{hashlib.sha256(leased).hexdigest()}", "old-worker")
    lists.push(WAN, job("new", "video_fast"))
    pod = await lists.pod()
    assert await pod.sweep() == 0
    lists.clock.jump(59)
    assert await pod.sweep() == 0
    lists.clock.jump(1)
    assert await pod.sweep() == 1
    assert lists.waiting(WAN) == [left, as_pushed(job("new", "video_fast"))]
    assert lists.client.lrange(f"{WAN}:processing", 0, -1) == [leased]
    (first,) = await lease(pod, Lane.VIDEO)
    assert (first.job.id, first.tries) == ("left", 2)


async def test_half_of_a_lease_is_made_whole(lists: Lists) -> None:
    """After a server's fail-over: no job is held for ever, and no lease is of nothing."""
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    await lease(one)
    lists.client.delete("worker:leases:image")
    lists.client.zadd("worker:leases:video", {"nothing": 1})
    assert await two.sweep() == 0
    assert lists.client.zrange("worker:leases:video", 0, -1) == []
    lists.clock.jump(TTL_S)
    assert await two.sweep() == 1
    assert ids(await lease(two)) == ["a"]
