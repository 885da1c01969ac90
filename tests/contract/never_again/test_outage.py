"""Ten minutes without an application, with a restart in the middle, lose nothing (line 9)."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from ourvidz_worker.callbacks import OutboxPump, Signer, completed_body, processing_body
from ourvidz_worker.callbacks.metadata import Done
from ourvidz_worker.callbacks.sender import TIMEOUT_S, CallbackSender
from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue import Settlement, Store
from ourvidz_worker.testing.queue_stores import QueueStores
from ourvidz_worker.testing.supabase import CallClock

pytestmark = pytest.mark.anyio

HALF_S = 300.0
LONGEST_WAIT_S = 60.0
"""Between two tries (K-11). While a store is asked the clock may run on, so more is allowed."""

JITTER = 0.97
"""No wait comes to whole seconds, so that none is as long as a call's deadline: the clock tells
calls from waits by their length."""

JOBS = ("one", "two", "three")


class Endpoint:
    """A receiver that is there, and can do nothing until it is well."""

    def __init__(self) -> None:
        self.is_well = False
        self.heard: list[tuple[bool, bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one call: 200, or 503, or nothing at all, in turn."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        self.heard.append((self.is_well, await reader.readexactly(length)))
        if self.is_well:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        elif len(self.heard) % 2:
            writer.write(b"HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    def taken(self) -> list[bytes]:
        """The bodies that it has taken."""
        return [body for is_well, body in self.heard if is_well]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueStores]:
    """Every registered queue, with the servers it needs."""
    with QueueStores(tmp_path_factory.mktemp("servers")) as made:
        yield made


async def done_job(queue: Store, job_id: str) -> bytes:
    """A job that is worked to its end; the body owed for that."""
    fields = {"id": job_id, "user_id": "ann", "type": "sdxl_image_fast", "prompt": "a fox"}
    payload = json.dumps(fields).encode()
    intake = read_job(payload, limits=Limits())
    job = Job(
        id=job_id,
        type="sdxl_image_fast",
        user_id="ann",
        lane=intake.job_type.lane,
        priority=intake.job_type.priority,
        payload=payload,
        submitted_at=0.0,
    )
    asset = Asset(index=0, media=Media.IMAGE, key=f"ann/{job_id}/0.png", media_type="image/png")
    await queue.submit(job)
    (lease,) = await queue.lease("pod", {job.lane: 1}, 60.0)
    begun = processing_body(job_id, worker_id="pod")
    done = Done(job_id=job_id, request=intake.request, assets=(asset,), receipt=Receipt(), facts={})
    ended = completed_body(done, worker_id="pod", at=0.0)
    await queue.start(lease.token, callback=begun)
    end = Settlement(status=Status.COMPLETED, assets=(asset,), callback=ended)
    await queue.settle(lease.token, end)
    return ended


class Life:
    """One life of a pod: its queue, and the pump that tells what is owed."""

    def __init__(self, queue: Store, url: str, clock: CallClock) -> None:
        self.queue = queue
        self._clock = clock
        self._sender = CallbackSender(url, Signer(callback_secret="s" * 32), clock)
        pump = OutboxPump(queue, self._sender, clock, lambda: JITTER)
        self._pumping = asyncio.create_task(pump.run(asyncio.Event()))

    async def passes(self, seconds: float) -> None:
        """Let time pass, but for what owes nobody anything; calls are waited for."""
        end = self._clock.monotonic() + seconds
        while self._clock.monotonic() < end and await self.queue.owed():
            await self._clock.settle(self._pumping)
            await self._clock.advance(1.0)
        assert not self._pumping.done()

    async def die(self) -> None:
        """End as a process that is killed: nothing is flushed."""
        self._pumping.cancel()
        await asyncio.gather(self._pumping, return_exceptions=True)
        await self._sender.close()
        await self.queue.close()


@pytest.mark.parametrize("name", ["sqlite", "redis", "upstash"])
async def test_09_an_endpoint_that_is_down_for_ten_minutes_hears_of_every_end(
    stores: QueueStores, tmp_path: Path, name: str
) -> None:
    """K-11: in every store; each body once, as it was written before the restart."""
    clock, endpoint = CallClock({TIMEOUT_S}), Endpoint()
    make = stores.maker(name)
    async with await asyncio.start_server(endpoint.serve, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
        queue = make(tmp_path, clock)
        await queue.open()
        owed = {await done_job(queue, job_id) for job_id in JOBS}
        first = Life(queue, url, clock)
        await first.passes(HALF_S)
        await first.die()
        before = len(endpoint.heard)
        queue = make(tmp_path, clock)
        await queue.open()
        assert await queue.owed() == len(JOBS)
        second = Life(queue, url, clock)
        await second.passes(HALF_S)
        assert endpoint.taken() == []
        assert before > 10 * len(JOBS) // 2
        assert len(endpoint.heard) > before + len(JOBS)
        endpoint.is_well = True
        await second.passes(5 * LONGEST_WAIT_S)
        assert await queue.owed() == 0
        taken = endpoint.taken()
        assert (len(taken), set(taken)) == (len(JOBS), owed)
        for job_id in JOBS:
            record = await queue.find(job_id)
            assert record is not None
            assert record.status is Status.COMPLETED
            assert [asset.key for asset in record.assets] == [f"ann/{job_id}/0.png"]
        await second.die()
