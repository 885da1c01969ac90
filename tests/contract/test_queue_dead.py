"""Dead letters of the application's lists go back where they came from (Q-21)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.list_bench import CHAT, SDXL, Lists, as_pushed, job, lease

from ourvidz_worker.domain.errors import NotFound
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue import Settlement, Store
from ourvidz_worker.testing.queue_bench import ids
from ourvidz_worker.testing.queue_stores import QueueStores

pytestmark = pytest.mark.anyio

BROKEN = Settlement(
    status=Status.FAILED, code="WORKER_UNAVAILABLE", sentence="It broke.", callback=b"{}", dead=True
)


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


async def give_up(pod: Store) -> None:
    """Every callback that is due is given up."""
    for row in await pod.due(9):
        await pod.give_up(row, "HTTP 410")


async def test_a_pushed_job_goes_back_as_it_came(lists: Lists) -> None:
    """`worker:done` is taken away, and the very bytes are pushed to the right of their list."""
    lists.push(SDXL, job("a"))
    pod = await lists.pod()
    (leased,) = await lease(pod)
    await pod.settle(leased.token, BROKEN)
    await give_up(pod)
    assert lists.client.get("worker:done:a") == b"failed"
    lists.push(SDXL, job("b"))
    (letter,) = await pod.dead()
    assert await pod.replay(letter.id) == "a"
    assert lists.waiting(SDXL) == [as_pushed(job("b")), as_pushed(job("a"))]
    assert lists.letters(SDXL) == []
    assert lists.client.get("worker:done:a") is None
    again = await lease(pod, count=2)
    assert ids(again) == ["b", "a"]
    assert [each.tries for each in again] == [1, 1]


async def test_a_copy_of_a_dead_callback_stays_in_redis(lists: Lists) -> None:
    """K-11: what was given up is known to every pod, and told by the one that gave it up."""
    lists.push(SDXL, job("a"))
    pod, other = await lists.pod(), await lists.pod("other")
    (leased,) = await lease(pod)
    await pod.settle(leased.token, BROKEN)
    await give_up(pod)
    (dead,) = await pod.dead_callbacks()
    assert await other.dead_callbacks() == []
    assert await pod.revive(dead.id)
    (row,) = await pod.due(9)
    assert (row.job_id, row.status, row.body) == ("a", "failed", b"{}")
    await pod.delivered(row)
    assert await pod.owed() == 0
    assert lists.client.llen("callback:dead") == 1


async def test_garbage_goes_back_and_is_buried_again(lists: Lists) -> None:
    """An element that names no job is worked by nobody, however often it is tried."""
    lists.push(SDXL, b"garbage")
    pod = await lists.pod()
    await lease(pod)
    (letter,) = await pod.dead()
    assert await pod.replay(letter.id) is None
    assert lists.waiting(SDXL) == [b"garbage"]
    assert await lease(pod) == []
    (again,) = await pod.dead()
    assert again.raw == b"garbage"


async def test_letters_keep_their_order_over_the_lists(lists: Lists) -> None:
    """The newest first, also when one was taken out of the middle."""
    pod = await lists.pod()
    for n in range(3):
        lists.push(SDXL, b"sdxl %d" % n)
        await lease(pod)
        lists.push(CHAT, b"chat %d" % n)
        await lease(pod, Lane.CHAT)
    (middle,) = [letter for letter in await pod.dead() if letter.raw == b"sdxl 1"]
    await pod.replay(middle.id)
    kept = [b"chat 2", b"sdxl 2", b"chat 1", b"chat 0", b"sdxl 0"]
    assert [letter.raw for letter in await pod.dead()] == kept
    lists.push(SDXL, b"newest")
    await lease(pod, count=2)
    assert [letter.raw for letter in await pod.dead(3)] == [b"newest", b"sdxl 1", b"chat 2"]


async def test_a_job_of_our_own_needs_its_record(lists: Lists) -> None:
    """Its payload may not name it, so that it cannot be pushed as an element."""
    pod = await lists.pod()
    own = Job(
        id="own",
        type="sdxl_image_fast",
        user_id="ann",
        lane=Lane.IMAGE,
        priority=PriorityClass.NORMAL,
        payload=b'{"prompt":"a fox"}',
        submitted_at=lists.clock.now(),
    )
    await pod.submit(own)
    for _ in range(2):
        (leased,) = await lease(pod)
        assert leased.job.payload == own.payload
        await pod.settle(leased.token, BROKEN)
        await give_up(pod)
        (letter,) = await pod.dead()
        assert await pod.replay(letter.id) == "own"
    (leased,) = await lease(pod)
    await pod.settle(leased.token, BROKEN)
    await give_up(pod)
    (letter,) = await pod.dead()
    lists.client.delete("worker:job:own", "worker:done:own")
    with pytest.raises(NotFound, match="no longer kept"):
        await pod.replay(letter.id)
