"""The native job interface: hand in, look at, list, watch and cancel."""

import json
from typing import Any

import httpx
import pytest

from ourvidz_worker.domain.errors import OutOfMemory
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Status
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

JOB = {"type": "sdxl_image_fast", "user_id": "u", "prompt": "an apple"}


async def put(client: httpx.AsyncClient, job_id: str, **change: object) -> httpx.Response:
    """Hand in a job under an id."""
    return await client.put(f"/v1/jobs/{job_id}", json=JOB | change)


async def test_post_takes_a_job() -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:
        reply = await client.post("/v1/jobs", json=JOB | {"id": "j-1"})
        again = await client.post("/v1/jobs", json=JOB | {"id": "j-1"})
        other = await client.post("/v1/jobs", json=JOB | {"id": "j-1", "prompt": "a pear"})
    assert (reply.status_code, again.status_code, other.status_code) == (202, 202, 409)
    told = reply.json()
    assert told.pop("request_id") == reply.headers["x-request-id"]
    assert told == {"job_id": "j-1", "status": "queued"}
    assert reply.headers["location"] == "/v1/jobs/j-1"


async def test_put_is_one_job_however_often_it_is_asked() -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:
        replies = [await put(client, "j"), await put(client, "j"), await put(client, "j", x=1)]
    assert [reply.status_code for reply in replies] == [202, 200, 409]
    assert replies[2].json()["code"] == "CONFLICT"
    assert list(pod.jobs.records) == ["j"]


async def test_the_payload_is_kept_byte_for_byte() -> None:
    pod = FakePod()
    raw = b' {"type":"video_fast", "user_id" : "u","prompt":"\\u00e9\xc3\xa9"} '
    async with client_of(pod.app()) as client:
        headers = {"content-type": "application/json"}
        await client.put("/v1/jobs/j", content=raw, headers=headers)
    assert pod.jobs.records["j"].job.payload == raw


@pytest.mark.parametrize("name", ["-x", "a..b", "a%20b", "%C3%A9", "a" * 129, "a%0A"])
async def test_an_id_that_is_none(name: str) -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:
        reply = await client.put(f"/v1/jobs/{name}", json=JOB)
        assert (reply.status_code, reply.json()["field"]) == (400, "id")
        assert reply.json()["success"] is False
        for path in ("", "/events", "/receipt", "/preview", "/assets/0", "/assets/0/thumbnail"):
            assert (await client.get(f"/v1/jobs/{name}{path}")).status_code == 404
    assert pod.jobs.records == {}


async def test_a_fault_of_the_job_names_its_field() -> None:
    async with client_of(FakePod().app()) as client:
        reply = await client.put("/v1/jobs/j", json=JOB | {"type": "no_such_type"})
        clash = await put(client, "j", id="k")
    assert (reply.status_code, reply.json()["field"]) == (400, "type")
    assert (clash.status_code, clash.json()["field"]) == (400, "id")


async def test_a_job_is_shown_from_its_queue_to_its_end() -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:

        async def state() -> tuple[str, int]:
            told = (await client.get("/v1/jobs/j")).json()
            return told["status"], told["attempts"]

        await put(client, "j")
        assert await state() == ("queued", 0)
        pod.jobs.lease("j")
        assert await state() == ("queued", 1)
        pod.jobs.start("j")
        assert await state() == ("processing", 2)
        pod.jobs.end("j", Status.FAILED, error=OutOfMemory())
        assert await state() == ("failed", 2)
        told = (await client.get("/v1/jobs/j")).json()
    assert told["error"] == {
        "code": "OOM_ERROR",
        "message": OutOfMemory.__doc__,
        "retryable": True,
    }
    assert told["completed_at"] == "2023-11-14T22:13:20.000Z"


async def test_jobs_are_listed_by_state_user_and_number() -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:
        for name in ("a", "b", "c", "d"):
            await put(client, name, user_id="v" if name == "d" else "u")
            pod.clock.jump(1)
        pod.jobs.lease("b")
        pod.jobs.start("c")

        async def ids(**query: str | int) -> list[str]:
            reply = await client.get("/v1/jobs", params=query)
            return [job["job_id"] for job in reply.json()["jobs"]]

        assert await ids() == ["d", "c", "b", "a"]
        assert await ids(limit=2) == ["d", "c"]
        assert await ids(status="queued") == ["d", "b", "a"]
        assert await ids(status="queued", user_id="u", limit=1) == ["b"]
        assert await ids(status="processing") == ["c"]
        assert await ids(status="completed") == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "ten"),
        ("limit", "9" * 5000),
        ("status", "leased"),
        ("status", ""),
        ("user_id", "../u"),
    ],
)
async def test_a_wrong_filter_is_named(name: str, value: str) -> None:
    async with client_of(FakePod().app()) as client:
        reply = await client.get("/v1/jobs", params={name: value})
    assert (reply.status_code, reply.json()["field"]) == (400, name)


async def test_cancelling() -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:
        for name in ("waiting", "running"):
            await put(client, name)
        pod.jobs.start("running")
        replies = [
            await client.delete("/v1/jobs/waiting"),
            await client.delete("/v1/jobs/running"),
            await client.delete("/v1/jobs/waiting"),
            await client.delete("/v1/jobs/unknown"),
        ]
    assert [reply.status_code for reply in replies] == [202, 202, 409, 404]
    assert [reply.json().get("status") for reply in replies[:2]] == ["cancelled", "cancelling"]
    assert pod.jobs.records["running"].cancel_requested


def events(text: str) -> list[tuple[int, str, dict[str, Any]]]:
    """The events of a stream: number, kind and data."""
    found = []
    for block in text.strip().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        found.append((int(lines["id"]), lines["event"], json.loads(lines["data"])))
    return found


async def test_watching_tells_every_event_up_to_the_last() -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:
        await put(client, "j")
        pod.jobs.start("j")
        pod.jobs.tell("j", EventKind.PROGRESS, stage="denoise", step=1, fraction=0.5)
        pod.jobs.end("j", Status.COMPLETED)
        reply = await client.get("/v1/jobs/j/events")
        rest = await client.get("/v1/jobs/j/events", headers={"Last-Event-ID": "3"})
        none = await client.get("/v1/jobs/j/events", headers={"Last-Event-ID": "4"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    assert events(reply.text) == [
        (1, "accepted", {}),
        (2, "started", {}),
        (3, "progress", {"stage": "denoise", "step": 1, "fraction": 0.5}),
        (4, "completed", {}),
    ]
    assert events(rest.text) == events(reply.text)[3:]
    assert (none.status_code, none.text) == (200, "")


@pytest.mark.parametrize("number", ["-1", "1.5", "x", "²", "9" * 19])
async def test_a_wrong_event_number_is_named(number: str) -> None:
    pod = FakePod()
    async with client_of(pod.app()) as client:
        await put(client, "j")
        headers = [(b"Last-Event-ID", number.encode())]
        reply = await client.get("/v1/jobs/j/events", headers=headers)
        unknown = await client.get("/v1/jobs/k/events")
    assert (reply.status_code, reply.json()["field"]) == (400, "Last-Event-ID")
    assert unknown.status_code == 404
