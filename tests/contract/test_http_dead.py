"""What was given up, over HTTP: listed without anybody's words, and tried again (Q-21, K-11)."""

import hashlib

import pytest

from ourvidz_worker.queue import DeadCallback, DeadLetter
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

AT = 1_700_000_000.0
WORDS = b'{"prompt":"a secret garden"}'
ADDRESSES = (
    ("GET", "/v1/dead"),
    ("POST", "/v1/dead/7/replay"),
    ("GET", "/v1/callbacks/dead"),
    ("POST", "/v1/callbacks/dead/7/replay"),
)


def letter(name: str, job_id: str | None) -> DeadLetter:
    """A letter that holds a prompt."""
    return DeadLetter(
        id=name, job_id=job_id, raw=WORDS, reason="No.", code="INVALID_REQUEST", tries=2, at=AT
    )


def callback(number: int, job_id: str) -> DeadCallback:
    """A callback whose body holds a prompt."""
    return DeadCallback(
        id=number,
        job_id=job_id,
        status="completed",
        body=WORDS,
        tries=9,
        created_at=AT,
        at=AT + 60,
        reason="HTTP 410",
    )


async def test_dead_letters_are_listed_without_what_they_hold() -> None:
    """Q-21, O-8: the newest first, with a length and a digest."""
    pod = FakePod()
    pod.dead.bury(letter("old", None), letter("new", "j"))
    async with client_of(pod.app()) as client:
        reply = await client.get("/v1/dead")
        short = await client.get("/v1/dead", params={"limit": 1})
        wrong = [await client.get("/v1/dead", params={"limit": n}) for n in ("0", "1001", "x")]
    newest, oldest = reply.json()["letters"]
    assert (newest["id"], oldest["id"], oldest["job_id"]) == ("new", "old", None)
    assert newest == {
        "id": "new",
        "job_id": "j",
        "code": "INVALID_REQUEST",
        "reason": "No.",
        "attempts": 2,
        "at": "2023-11-14T22:13:20.000Z",
        "size_bytes": len(WORDS),
        "sha256": hashlib.sha256(WORDS).hexdigest(),
    }
    assert b"secret" not in reply.content
    assert short.json()["letters"] == [newest]
    assert [each.status_code for each in wrong] == [400, 400, 400]


async def test_a_dead_letter_is_replayed_once() -> None:
    """Q-21: then it is gone; while its job lives it is refused."""
    pod = FakePod()
    pod.dead.bury(letter("a", "j"), letter("b", None), letter("c", "busy"))
    pod.dead.busy.add("busy")
    async with client_of(pod.app()) as client:
        names = ("a", "b", "a", "c")
        replies = [await client.post(f"/v1/dead/{name}/replay") for name in names]
    assert [reply.status_code for reply in replies] == [202, 202, 404, 409]
    assert [reply.json().get("job_id") for reply in replies[:2]] == ["j", None]
    assert replies[0].json()["id"] == "a"
    assert pod.dead.replayed == ["a", "b"]


async def test_dead_callbacks_are_listed_without_their_bodies() -> None:
    """K-11, O-8: a body may hold the prompt."""
    pod = FakePod()
    pod.dead.give_up(callback(3, "j"), callback(8, "k"))
    async with client_of(pod.app()) as client:
        reply = await client.get("/v1/callbacks/dead")
    newest, oldest = reply.json()["callbacks"]
    assert (newest["id"], newest["job_id"], oldest["id"]) == (8, "k", 3)
    assert oldest == {
        "id": 3,
        "job_id": "j",
        "status": "completed",
        "reason": "HTTP 410",
        "attempts": 9,
        "created_at": "2023-11-14T22:13:20.000Z",
        "at": "2023-11-14T22:14:20.000Z",
        "size_bytes": len(WORDS),
        "sha256": hashlib.sha256(WORDS).hexdigest(),
    }
    assert b"secret" not in reply.content


async def test_a_dead_callback_is_sent_again_once() -> None:
    """K-11: one that would come too late is refused."""
    pod = FakePod()
    pod.dead.give_up(callback(3, "j"), callback(4, "busy"))
    pod.dead.busy.add("busy")
    async with client_of(pod.app()) as client:
        numbers = ("3", "3", "4", "x", "-1", "9" * 30, "%C2%B2")
        replies = [await client.post(f"/v1/callbacks/dead/{n}/replay") for n in numbers]
    assert [reply.status_code for reply in replies] == [202, 404, 409, 404, 404, 404, 404]
    assert replies[0].json()["id"] == 3
    assert pod.dead.revived == [3]


async def test_all_of_it_needs_a_key() -> None:
    """A-1: an operator's business, in every mode."""
    async with client_of(FakePod().app(), key=None) as client:
        for method, path in ADDRESSES:
            assert (await client.request(method, path)).status_code == 401
