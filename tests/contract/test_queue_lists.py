"""Elements that the application pushes, over TCP and over REST (contract section 3)."""

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from tests.contract.list_bench import CHAT, SDXL, WAN, Lists, as_pushed, job, lease

from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue import Settlement
from ourvidz_worker.testing.queue_bench import DONE, ids
from ourvidz_worker.testing.queue_stores import QueueStores

pytestmark = pytest.mark.anyio

OBJECT = json.dumps(job("a"), ensure_ascii=False).encode()
NESTED_2000 = b"[" * 2000 + b"]" * 2000
TOO_LARGE = 4 * 1024 * 1024

ENCODINGS = {
    "object": OBJECT,
    "array of one string": json.dumps([OBJECT.decode()]).encode(),
    "array of one object": b"[" + OBJECT + b"]",
    "data as string": json.dumps({"data": OBJECT.decode()}).encode(),
    "data as object": b'{"data":' + OBJECT + b"}",
    "string": json.dumps(OBJECT.decode()).encode(),
    "byte order mark": b"\xef\xbb\xbf" + OBJECT,
    "all at once": json.dumps([json.dumps({"data": [json.dumps(OBJECT.decode())]})]).encode(),
}

#: Elements that name no job.
GARBAGE = {
    "not UTF-8": b"\xff\xfe{",
    "empty": b"",
    "empty array": b"[]",
    "null": b"null",
    "number": b"7",
    "null inside": b'{"data":null}',
    "two elements": b"[1,2]",
    "2000 brackets": NESTED_2000,
    "id as object": b'{"id":{"a":1},"type":"sdxl_image_fast"}',
    "wrapped nine times": b'{"data":' * 9 + b"{}" + b"}" * 9,
    "zero byte": b"\x00",
    "hostile id": b'{"id":"../../etc","type":"sdxl_image_fast"}',
    "large": b"[" + b" " * TOO_LARGE + b"]",
}

#: Elements that cannot be read and yet name the job `a`.
UNREADABLE = {
    "broken JSON": b'{"id":"a","type":"sdxl_image_fast",',
    "broken inside": json.dumps(['{"id":"a","type":']).encode(),
    "not UTF-8": b'{"id":"a","prompt":"\xff"}',
    "two jobs": b"[" + OBJECT + b"," + OBJECT + b"]",
    "job_id": b'{"job_id": "a", ',
}


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


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_every_encoding_is_one_and_the_same_job(lists: Lists, encoding: str) -> None:
    """Q-20: the payload is the job object exactly as it was sent."""
    lists.push(SDXL, ENCODINGS[encoding])
    pod = await lists.pod()
    (leased,) = await lease(pod)
    assert (leased.job.id, leased.job.type, leased.job.user_id) == ("a", "sdxl_image_fast", "ann")
    assert leased.job.payload == OBJECT
    assert leased.job.readable
    assert not leased.job.arrival_known
    assert leased.tries == 1


@pytest.mark.parametrize("kind", GARBAGE)
async def test_garbage_is_a_dead_letter_and_the_lane_goes_on(lists: Lists, kind: str) -> None:
    """Q-21, Q-11: no sleep, no error, and the next job is leased by the same call."""
    lists.push(SDXL, GARBAGE[kind], job("good"))
    pod = await lists.pod()
    assert ids(await lease(pod)) == ["good"]
    (letter,) = lists.letters(SDXL)
    assert set(letter) == {"raw", "reason", "code", "job_id", "attempts", "worker_id", "at"}
    assert (letter["code"], letter["job_id"], letter["attempts"]) == ("INVALID_REQUEST", None, 1)
    assert letter["worker_id"] == "worker-1"
    assert letter["at"] == "2023-11-14T22:13:20.000Z"
    (kept,) = await pod.dead()
    assert kept.raw == GARBAGE[kind]
    assert lists.waiting(SDXL) == []


@pytest.mark.parametrize("kind", UNREADABLE)
async def test_what_names_its_job_is_leased_to_be_failed(lists: Lists, kind: str) -> None:
    """Q-21, Q-31: its owner can be told, so it must end as a job does."""
    lists.push(SDXL, UNREADABLE[kind])
    pod = await lists.pod()
    (leased,) = await lease(pod)
    assert leased.job.id == "a"
    assert leased.job.payload == UNREADABLE[kind]
    assert not leased.job.readable
    end = Settlement(status=Status.FAILED, code="INVALID_REQUEST", sentence="No.", dead=True)
    await pod.settle(leased.token, end)
    (letter,) = lists.letters(SDXL)
    assert (letter["job_id"], letter["reason"]) == ("a", "No.")
    (kept,) = await pod.dead()
    assert kept.raw == UNREADABLE[kind]


@pytest.mark.parametrize("kind", ["", "sdxl_image_ultra", "wan_nothing", None, 7])
async def test_an_unknown_type_is_leased_from_its_lists_own_lane(
    lists: Lists, kind: object
) -> None:
    """Q-31, 3.3: such a job fails with a callback, without delaying the next one."""
    lists.push(WAN, {**job("a"), "type": kind}, job("b", "video_fast"))
    pod = await lists.pod()
    first, second = await lease(pod, Lane.VIDEO, 2)
    assert (first.job.id, first.job.type) == ("a", kind if isinstance(kind, str) else "")
    assert second.job.id == "b"


async def test_a_job_without_a_user_is_leased(lists: Lists) -> None:
    """Q-31: so that it fails with a callback."""
    lists.push(SDXL, b'{"id":"a","type":"sdxl_image_fast"}')
    pod = await lists.pod()
    (leased,) = await lease(pod)
    assert leased.job.user_id == ""


async def test_a_flood_of_garbage_delays_nobody_for_long(lists: Lists) -> None:
    """Q-11."""
    lists.push(SDXL, *(b"garbage %d" % n for n in range(30)), job("good"))
    pod = await lists.pod()
    found: list[str] = []
    while not found:
        found = ids(await lease(pod, count=4))
    assert found == ["good"]
    while lists.client.llen(SDXL):
        assert await lease(pod, count=4) == []
    assert len(lists.letters(SDXL)) == 30


async def test_jobs_are_leased_in_the_order_they_were_pushed(lists: Lists) -> None:
    """Q-1: RPUSH, taken from the left; the length of the list is what waits."""
    lists.push(SDXL, *(job(f"job-{n}") for n in range(5)))
    pod = await lists.pod()
    assert (await pod.depths())[Lane.IMAGE] == Depth(waiting=5, leased=0)
    for n in range(5):
        (leased,) = await lease(pod)
        assert leased.job.id == f"job-{n}"
        assert lists.client.llen(SDXL) == 4 - n
        assert (await pod.depths())[Lane.IMAGE] == Depth(waiting=4 - n, leased=1)
        await pod.settle(leased.token, DONE)
    assert lists.leftovers() == set()


async def test_pushed_and_submitted_jobs_share_one_order(lists: Lists) -> None:
    """First in, first out within a user, whoever brought the job."""
    pod = await lists.pod()
    lists.push(SDXL, job("job-0"))
    for n in (1, 3):
        payload = json.dumps(job(f"job-{n}")).encode()
        submitted = Job(
            id=f"job-{n}",
            type="sdxl_image_fast",
            user_id="ann",
            lane=Lane.IMAGE,
            priority=PriorityClass.NORMAL,
            payload=payload,
            submitted_at=lists.clock.now(),
        )
        assert await pod.submit(submitted) == "accepted"
        lists.push(SDXL, job(f"job-{n + 1}"))
    assert lists.client.llen(SDXL) == 5
    assert ids(await lease(pod, count=9)) == [f"job-{n}" for n in range(5)]


async def test_the_type_decides_and_not_the_list(lists: Lists) -> None:
    """Q-1: WAN stills arrive in the image list, and a full video lane does not block images."""
    lists.push(SDXL, *(job(f"still-{n}", "wan_image_high") for n in range(3)), job("picture"))
    pod = await lists.pod()
    assert ids(await lease(pod, Lane.IMAGE)) == ["picture"]
    (still,) = await lease(pod, Lane.VIDEO)
    assert (still.job.id, still.job.type) == ("still-0", "image_high")
    assert still.job.lane is Lane.VIDEO
    assert lists.client.llen(SDXL) == 2


async def test_a_lane_is_not_blocked_by_many_elements_of_another(lists: Lists) -> None:
    """Q-9: lanes are independent, though they share a list."""
    many = [*(job(f"still-{n}", "image_fast") for n in range(200)), job("picture")]
    lists.client.rpush(SDXL, *map(as_pushed, many))
    pod = await lists.pod()
    assert ids(await lease(pod, Lane.IMAGE)) == ["picture"]
    assert ids(await lease(pod, Lane.VIDEO, 2)) == ["still-0", "still-1"]


async def test_what_this_pod_does_not_serve_goes_to_its_own_lists_tail(lists: Lists) -> None:
    """Q-9: moved once, byte for byte, and left there."""
    lists.push(WAN, job("clip", "video_fast"))
    lists.push(SDXL, job("still", "image_fast"), job("picture"))
    pod = await lists.pod(lanes=[Lane.IMAGE, Lane.CHAT])
    assert ids(await lease(pod, count=9)) == ["picture"]
    expected = [as_pushed(job("clip", "video_fast")), as_pushed(job("still", "image_fast"))]
    assert lists.waiting(WAN) == expected
    assert await lease(pod, count=9) == []
    assert lists.waiting(WAN) == expected
    assert lists.waiting(SDXL) == []
    other = await lists.pod("other", lanes=[Lane.VIDEO])
    assert ids(await lease(other, Lane.VIDEO, 9)) == ["clip", "still"]


async def test_twins_run_once(lists: Lists) -> None:
    """The same bytes twice are one job, whether the first waits, runs or has ended."""
    lists.push(SDXL, job("a"), job("a"), job("b"))
    pod = await lists.pod()
    assert ids(await lease(pod, count=9)) == ["a", "b"]
    lists.push(SDXL, job("a"))
    assert await lease(pod, count=9) == []
    assert lists.client.llen(SDXL) == 0


async def test_other_bytes_with_an_id_that_runs_are_dropped(lists: Lists) -> None:
    """Two elements with one id never run side by side."""
    lists.push(SDXL, job("a"), job("a", seed=7), job("b"))
    pod = await lists.pod()
    first, second = await lease(pod, count=3)
    assert (first.job.id, second.job.id) == ("a", "b")
    assert json.loads(first.job.payload).get("seed") is None


async def test_a_done_job_is_acknowledged_without_work(lists: Lists) -> None:
    """Q-10: until an operator deletes the key."""
    lists.push(SDXL, job("a"))
    pod = await lists.pod()
    (leased,) = await lease(pod)
    await pod.settle(leased.token, Settlement(status=Status.COMPLETED, callback=b"{}"))
    assert lists.client.get("worker:done:a") is None
    lists.push(SDXL, job("a", again=1))
    assert await lease(pod) == []
    (row,) = await pod.due(9)
    await pod.delivered(row)
    assert lists.client.get("worker:done:a") == b"completed"
    assert 86_000 < lists.client.ttl("worker:done:a") <= 86_400
    lists.push(SDXL, job("a", again=2))
    assert await lease(pod) == []
    lists.client.delete("worker:done:a")
    lists.push(SDXL, job("a", again=3))
    (again,) = await lease(pod)
    assert json.loads(again.job.payload)["again"] == 3
    assert again.tries == 1


async def test_a_foreign_done_key_counts(lists: Lists) -> None:
    """Q-10: another worker may have told it."""
    lists.client.set("worker:done:a", "failed")
    lists.push(SDXL, job("a"), job("b"))
    pod = await lists.pod()
    assert ids(await lease(pod)) == ["b"]
    assert lists.letters(SDXL) == []


async def test_a_text_jobs_result_is_kept_for_an_hour(lists: Lists) -> None:
    """J-1."""
    lists.push(CHAT, job("a", "chat_enhance"))
    pod = await lists.pod()
    (leased,) = await lease(pod, Lane.CHAT)
    body = b'{"status":"completed"}'
    await pod.settle(leased.token, Settlement(status=Status.COMPLETED, callback=body, result=body))
    assert lists.client.get("worker:result:a") == body
    assert 3500 < lists.client.ttl("worker:result:a") <= 3600


async def test_a_pushed_job_can_be_found_and_cancelled_before_anybody_claims_it(
    lists: Lists,
) -> None:
    lists.push(SDXL, job("aa"), job("a"), job("b"))
    pod = await lists.pod()
    record = await pod.find("a")
    assert record is not None
    assert (record.status, record.job.user_id) == (Status.WAITING, "ann")
    assert await pod.cancel("a", callback=b"{}") == "cancelled"
    assert await pod.cancel("a") == "terminal"
    assert await pod.cancel("nobody") == "unknown"
    assert [(row.job_id, row.status) for row in await pod.due(9)] == [("a", "cancelled")]
    assert lists.client.llen(SDXL) == 2
    assert ids(await lease(pod, count=9)) == ["aa", "b"]


async def test_dead_letters_are_trimmed_to_a_thousand(lists: Lists) -> None:
    """Q-21."""
    with lists.client.pipeline() as pipe:
        for n in range(1000):
            pipe.rpush(f"{SDXL}:dead", json.dumps({"raw": str(n)}))
        pipe.execute()
    lists.push(SDXL, b"garbage")
    pod = await lists.pod()
    await lease(pod)
    letters = lists.letters(SDXL)
    assert len(letters) == 1000
    assert letters[-1]["raw"] == "garbage"
    assert [letter.raw for letter in await pod.dead(3)] == [b"garbage", b"999", b"998"]
