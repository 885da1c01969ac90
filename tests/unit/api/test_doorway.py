"""What a port answers before its pod stands (H-12), and after."""

import httpx
import pytest
from starlette.responses import PlainTextResponse

from ourvidz_worker.api.doorway import Doorway
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


def client_of(doorway: Doorway) -> httpx.AsyncClient:
    """A client of that port."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(doorway), base_url="http://pod")


async def test_health_says_that_it_starts_and_what_it_waits_for() -> None:
    clock, waited = FakeClock(), ["the queue cannot be reached"]
    doorway = Doorway("chat", "1.0", clock, problems=lambda: tuple(waited))
    clock.jump(4)
    async with client_of(doorway) as client:
        reply = await client.get("/health")
        told = reply.json()
        assert (reply.status_code, told["status"], told["ready"]) == (200, "starting", False)
        assert (told["worker_type"], told["uptime"]) == ("chat", 4.0)
        assert told["problems"] == ["the queue cannot be reached"]
        assert told["endpoints"]
        assert told["request_id"] == reply.headers["X-Request-Id"]
        waited.clear()
        assert (await client.get("/health")).json()["problems"] == []


async def test_everything_else_is_told_to_come_back() -> None:
    doorway = Doorway("wan", "1.0", FakeClock(), problems=tuple)
    async with client_of(doorway) as client:
        for method, path in (("POST", "/chat"), ("GET", "/"), ("POST", "/health")):
            reply = await client.request(method, path)
            assert reply.status_code == 503
            assert reply.headers["Content-Type"] == "application/problem+json"
            assert int(reply.headers["Retry-After"]) > 0
            assert reply.json()["code"] == "WORKER_UNAVAILABLE"


async def test_an_open_doorway_leads_to_the_pod() -> None:
    doorway = Doorway("wan", "1.0", FakeClock(), problems=tuple)
    doorway.open(PlainTextResponse("the pod"))
    async with client_of(doorway) as client:
        assert (await client.get("/health")).text == "the pod"
