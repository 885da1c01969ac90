"""Questions about a pod lie in the chat list, and are a lane of their own (J-2, Q-1)."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.list_bench import CHAT, SDXL, TTL_S, WAN, Lists, job, lease

from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import Job
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue.names import DEEP, WINDOW
from ourvidz_worker.testing.queue_bench import DONE, ids
from ourvidz_worker.testing.queue_stores import QueueStores

pytestmark = pytest.mark.anyio


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


def question(job_id: str) -> dict[str, object]:
    """An element that asks a pod about itself."""
    return job(job_id, "admin_utilities", config={"operation": "health"})


def talk(job_id: str, **more: object) -> dict[str, object]:
    """An element of the chat lane."""
    return job(job_id, "chat_conversation", **more)


async def test_every_pod_takes_questions(lists: Lists) -> None:
    """J-2: also one that serves no chat; what lies before them stays where it is."""
    lists.push(CHAT, talk("talk"), question("a"))
    pod = await lists.pod(lanes=[Lane.IMAGE])
    (leased,) = await lease(pod, Lane.ADMIN, 9)
    assert (leased.job.id, leased.job.lane) == ("a", Lane.ADMIN)
    await pod.settle(leased.token, DONE)
    assert len(lists.waiting(CHAT)) == 1
    assert await lease(pod, Lane.ADMIN) == []


@pytest.mark.parametrize("listed", [SDXL, WAN, CHAT])
async def test_a_question_is_one_in_any_list(lists: Lists, listed: str) -> None:
    """Q-1: the type decides, not the list."""
    lists.push(listed, question("a"))
    pod = await lists.pod()
    assert ids(await lease(pod, Lane.ADMIN)) == ["a"]
    assert lists.waiting(listed) == []


async def test_a_question_is_found_behind_much_talk(lists: Lists) -> None:
    """J-2: a long chat list keeps nobody waiting who does not want to talk."""
    words = {"prompt": "what does admin_utilities mean?"}
    lists.push(CHAT, *(talk(f"talk-{n}", **words) for n in range(WINDOW + 20)), question("a"))
    assert len(lists.waiting(CHAT)) < DEEP
    pod = await lists.pod(lanes=[Lane.IMAGE])
    assert ids(await pod.lease("pod", {Lane.IMAGE: 1, Lane.ADMIN: 1}, TTL_S)) == ["a"]
    assert len(lists.waiting(CHAT)) == WINDOW + 20


async def test_questions_do_not_count_as_talk(lists: Lists) -> None:
    """J-2, I2: nobody loads a chat model because of them; the list's length is the sum."""
    words = {"prompt": "what does admin_utilities mean?"}
    pod = await lists.pod()
    lists.push(CHAT, talk("talk", **words), question("a"), question("b"), b"garbage")
    seen = await pod.depths()
    assert (seen[Lane.CHAT], seen[Lane.ADMIN]) == (Depth(waiting=2), Depth(waiting=2))
    await lease(pod, Lane.ADMIN)
    seen = await pod.depths()
    assert seen[Lane.ADMIN] == Depth(waiting=1, leased=1)
    assert seen[Lane.CHAT].waiting + seen[Lane.ADMIN].waiting == len(lists.waiting(CHAT))


async def test_a_dead_pods_questions_are_answered_by_another(lists: Lists) -> None:
    """Q-7: their leases lapse and are given back like all others."""
    lists.push(CHAT, question("a"))
    pod, other = await lists.pod(), await lists.pod("other", lanes=[Lane.IMAGE])
    await lease(pod, Lane.ADMIN)
    lists.clock.jump(TTL_S + 1)
    assert await other.sweep() == 1
    assert ids(await lease(other, Lane.ADMIN)) == ["a"]
    again = await lists.pod("third")
    assert await lease(again, Lane.ADMIN) == []


async def test_a_question_of_our_own_interface_lies_in_the_chat_list(lists: Lists) -> None:
    pod, other = await lists.pod(), await lists.pod("other", lanes=[Lane.VIDEO])
    own = Job(
        id="own",
        type="admin_utilities",
        user_id="ann",
        lane=Lane.ADMIN,
        priority=PriorityClass.INTERACTIVE,
        payload=b"{}",
        submitted_at=lists.clock.now(),
    )
    await pod.submit(own)
    assert len(lists.waiting(CHAT)) == 1
    (leased,) = await lease(other, Lane.ADMIN)
    assert leased.job == own
