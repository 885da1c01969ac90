"""From the queue's own outbox to a real listener: order, bytes, signatures (7.1, K-10, K-11)."""

import asyncio
import hashlib
import hmac
import json
from pathlib import Path

import pytest

from ourvidz_worker.callbacks import OutboxPump, Signer, completed_body, processing_body
from ourvidz_worker.callbacks.metadata import Done
from ourvidz_worker.callbacks.sender import CallbackSender
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.job import Job, Status
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue import QueueSettings, Settlement, Store, make_queue
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

SECRET = "s" * 32


class Listener:
    """A receiver that answers with its statuses in turn, the last one for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.heard: list[tuple[dict[str, str], bytes]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        lines = [line.partition(": ") for line in head.split("\r\n")[1:] if line]
        headers = {name.lower(): value for name, _, value in lines}
        body = await reader.readexactly(int(headers["content-length"]))
        self.heard.append((headers, body))
        status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}".encode())
        writer.close()


async def settled_job(queue: Store) -> tuple[bytes, bytes]:
    """One job, started and completed; returns the two bodies owed for it."""
    payload = b'{"id":"j1","user_id":"u1","type":"sdxl_image_fast","prompt":"caf\\u00e9"}'
    intake = read_job(payload, limits=Limits())
    job = Job(
        id="j1",
        type="sdxl_image_fast",
        user_id="u1",
        lane=intake.job_type.lane,
        priority=intake.job_type.priority,
        payload=payload,
        submitted_at=0.0,
    )
    await queue.submit(job)
    (lease,) = await queue.lease("w1", {job.lane: 1}, 60.0)
    begun = processing_body("j1", worker_id="w1")
    done = Done(job_id="j1", request=intake.request, assets=(), receipt=Receipt(), facts={})
    ended = completed_body(done, worker_id="w1", at=0.0)
    await queue.start(lease.token, callback=begun)
    await queue.settle(lease.token, Settlement(status=Status.COMPLETED, callback=ended))
    return begun, ended


async def all_delivered(queue: Store, clock: FakeClock, pumping: "asyncio.Task[None]") -> None:
    """Until nothing is owed; time moves only while a row waits for its next try."""
    while await queue.owed() and not pumping.done():
        await clock.advance(await queue.next_due_in() or 0.0)


@pytest.mark.parametrize(
    ("statuses", "heard"),
    [
        ((200,), ["processing", "completed"]),
        ((503, 200), ["processing", "processing", "completed"]),
        ((500, 500, 500, 200), ["processing"] * 3 + ["completed"]),
        ((200, 429, 500, 200), ["processing"] + ["completed"] * 3),
    ],
)
async def test_what_a_job_owes_arrives_in_order_and_signed(
    statuses: tuple[int, ...], heard: list[str], tmp_path: Path
) -> None:
    clock, listener = FakeClock(), Listener(*statuses)
    queue = make_queue("sqlite", QueueSettings(state_dir=tmp_path), clock)
    await queue.open()
    begun, ended = await settled_job(queue)
    async with await asyncio.start_server(listener.serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        signer = Signer(callback_secret=SECRET)
        sender = CallbackSender(f"http://127.0.0.1:{port}/hook", signer, clock)
        pump = OutboxPump(queue, sender, clock, lambda: 1.0)
        stop = asyncio.Event()
        pumping = asyncio.create_task(pump.run(stop))
        await all_delivered(queue, clock, pumping)
        stop.set()
        await pumping
        await sender.close()
    await queue.close()
    assert [json.loads(body)["status"] for _, body in listener.heard] == heard
    assert {body for _, body in listener.heard} == {begun, ended}
    for headers, body in listener.heard:
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert headers["x-callback-signature"] == f"sha256={digest}"
        assert headers["idempotency-key"] == f"j1:{json.loads(body)['status']}"
