"""Ours over the application's lists: elements as it pushes them, one worker process.

A body runs in the process that leased it, as each peer's does.
"""

import asyncio
import json
import signal
import sys
from pathlib import Path

from redis.asyncio import Redis

from bench import witness
from bench.peers import CONCURRENCY
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.domain.job import Lease, Status
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import QueueSettings, Settlement, Store, make_queue

LIST = "sdxl_queue"
LEASE_S = 15.0
IDLE_S = 5.0
PROMPT = "a red apple on a blue background, " * 8
"""Makes an element of about half a kilobyte, as the application's are."""


class OurProducer:
    """Pushes as the application's server side does."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet."""
        self._redis = Redis.from_url(url)

    async def open(self) -> None:
        """Connect."""
        await self._redis.ping()

    async def enqueue(self, number: int) -> None:
        """Hand in one job."""
        await self._redis.rpush(LIST, element(number))

    async def close(self) -> None:
        """Disconnect."""
        await self._redis.aclose()


def make_producer(url: str) -> OurProducer:
    """The producer for the server at `url`."""
    return OurProducer(url)


def element(number: int) -> str:
    """An array that holds one string that holds the job: what the client of 2026 pushes."""
    job = {
        "id": f"bench-{number}",
        "type": "sdxl_image_fast",
        "user_id": f"user-{number % 7}",
        "prompt": PROMPT,
        "config": {"num_images": 1, "resolution": "1024x1024", "pipeline": "txt2img"},
        "metadata": {"reference_type": "style"},
    }
    return json.dumps([json.dumps(job)])


class Worker:
    """Leases what it has room for, runs it, settles it."""

    def __init__(self, queue: Store, path: str, body_s: float) -> None:
        """`path` is the witness's file."""
        self._queue = queue
        self._path = path
        self._body_s = body_s
        self._held: dict[asyncio.Task[None], Lease] = {}

    async def run(self) -> None:
        """Work until cancelled."""
        keeping = asyncio.create_task(self._keep())
        try:
            while True:
                room = CONCURRENCY - len(self._held)
                leases = await self._queue.lease("bench", {Lane.IMAGE: room}, LEASE_S)
                for lease in leases:
                    self._begin(lease)
                if not leases and not self._held:
                    await self._queue.changed(IDLE_S)
                elif not leases or len(self._held) >= CONCURRENCY:
                    await asyncio.wait(self._held, return_when=asyncio.FIRST_COMPLETED)
        finally:
            keeping.cancel()

    def _begin(self, lease: Lease) -> None:
        task = asyncio.create_task(self._work(lease))
        self._held[task] = lease
        task.add_done_callback(self._held.pop)

    async def _work(self, lease: Lease) -> None:
        number = int(lease.job.id.rpartition("-")[2])
        await self._queue.start(lease.token)
        witness.note(self._path, witness.BEGIN, number)
        await asyncio.sleep(self._body_s)
        witness.note(self._path, witness.END, number)
        await self._queue.settle(lease.token, Settlement(status=Status.COMPLETED))

    async def _keep(self) -> None:
        """Renew what is held and sweep what has lapsed."""
        while True:
            await asyncio.sleep(LEASE_S / 3)
            await self._queue.renew([lease.token for lease in self._held.values()], LEASE_S)
            await self._queue.sweep()


async def work(url: str, path: str, body_s: float) -> None:
    """Be a worker until a signal."""
    state = Path(path).with_suffix(".state")
    queue = make_queue("redis", QueueSettings(state_dir=state, url=url), SystemClock())
    await queue.open()
    working = asyncio.create_task(Worker(queue, path, body_s).run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, working.cancel)
    await asyncio.gather(working, return_exceptions=True)
    await queue.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], float(sys.argv[3])))
