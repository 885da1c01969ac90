"""An element that ended a wait is leased and bound to its job in one step of the server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.list_bench import SDXL, Lists, job, lease

from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue import Settlement, Store
from ourvidz_worker.testing.queue_bench import ids
from ourvidz_worker.testing.queue_stores import QueueStores

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueStores]:
    with QueueStores(tmp_path_factory.mktemp("servers")) as stores:
        yield stores


@pytest.fixture
async def lists(stores: QueueStores, tmp_path: Path) -> AsyncIterator[Lists]:
    lists = Lists("redis", stores, tmp_path)
    yield lists
    await lists.close()


def scripts_run(lists: Lists) -> int:
    """How many scripts the server has run so far."""
    told: dict[str, dict[str, int]] = lists.client.info("commandstats")
    return sum(told.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha"))


def blocked(lists: Lists) -> int:
    """How many connections wait at the server."""
    told: dict[str, int] = lists.client.info("clients")
    return told["blocked_clients"]


async def woken_by(pod: Store, lists: Lists, *elements: object) -> None:
    """A pod that waits at empty lists is woken by these."""
    assert await lease(pod) == []
    await pod.changed(0)
    waiting = asyncio.create_task(pod.changed(3600))
    while not await asyncio.to_thread(blocked, lists):
        await lists.clock.advance(0)
    lists.push(SDXL, *elements)
    assert await waiting


async def test_the_element_that_ends_a_wait_is_bound_at_once(lists: Lists) -> None:
    """What others wait for is one round trip, not two; the lease is as any other."""
    pod = await lists.pod()
    await woken_by(pod, lists, job("first"))
    before = scripts_run(lists)
    (leased,) = await lease(pod)
    assert scripts_run(lists) == before + 1
    assert (leased.job.id, leased.tries, leased.job.arrival_known) == ("first", 1, False)
    found = await pod.find("first")
    assert found is not None
    assert found.status is Status.LEASED
    await pod.settle(leased.token, Settlement(status=Status.COMPLETED))
    assert lists.waiting(SDXL) == []


async def test_an_accepted_job_is_bound_at_once_in_the_lane_that_it_was_accepted_for(
    lists: Lists,
) -> None:
    pod = await lists.pod()
    accepted = Job(
        id="ours",
        type="sdxl_image_fast",
        user_id="ann",
        lane=Lane.VIDEO,
        priority=PriorityClass.NORMAL,
        payload=b"{}",
        submitted_at=1.0,
    )
    assert await lease(pod, Lane.VIDEO) == []
    await pod.submit(accepted)
    before = scripts_run(lists)
    (leased,) = await lease(pod, Lane.VIDEO)
    assert scripts_run(lists) == before + 1
    assert (leased.job.id, leased.job.lane) == ("ours", Lane.VIDEO)


async def test_a_second_element_of_a_job_at_work_is_dropped_in_the_same_step(lists: Lists) -> None:
    pod = await lists.pod()
    await woken_by(pod, lists, job("twice"))
    (leased,) = await lease(pod)
    await woken_by(pod, lists, job("twice", note="again"))
    assert await lease(pod) == []
    assert lists.waiting(SDXL) == []
    await pod.settle(leased.token, Settlement(status=Status.COMPLETED))


async def test_an_element_in_a_strange_list_ends_in_its_own_lane(lists: Lists) -> None:
    """Q-1: the type decides, also when the pod was woken for the list that it lies in."""
    pod = await lists.pod()
    await woken_by(pod, lists, job("film", "video_fast"))
    assert ids(await lease(pod, Lane.VIDEO)) == ["film"]


async def test_what_was_seen_and_is_not_next_does_no_harm(lists: Lists) -> None:
    """Another pod took it, or another job has the better right."""
    pod, other = await lists.pod("pod"), await lists.pod("other")
    await woken_by(pod, lists, job("seen"))
    assert ids(await lease(other)) == ["seen"]
    lists.push(SDXL, job("next"))
    assert ids(await lease(pod)) == ["next"]
