"""SAQ, one worker process, with the settings that recover the most after a kill."""

import asyncio
import sys
from typing import Any

from saq import Queue, Worker

from bench import witness
from bench.peers import CONCURRENCY

BODY = "nothing"
TIMEOUT_S, RETRIES = 10, 5
SWEEP_S = 5
"""A job that has run longer than its time-out is swept and tried again."""


class SaqProducer:
    """Enqueues through SAQ's client."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet."""
        self._queue = Queue.from_url(url)

    async def open(self) -> None:
        """Connect."""
        await self._queue.connect()

    async def enqueue(self, number: int) -> None:
        """Hand in one job."""
        await self._queue.enqueue(BODY, number=number, timeout=TIMEOUT_S, retries=RETRIES)

    async def close(self) -> None:
        """Disconnect."""
        await self._queue.disconnect()


def make_producer(url: str) -> SaqProducer:
    """The producer for the server at `url`."""
    return SaqProducer(url)


async def work(url: str, path: str, body_s: float) -> None:
    """Be a worker until a signal."""

    async def nothing(_: Any, *, number: int) -> None:  # noqa: ANN401 - SAQ's own context
        witness.note(path, witness.BEGIN, number)
        await asyncio.sleep(body_s)
        witness.note(path, witness.END, number)

    worker = Worker(
        Queue.from_url(url),
        functions=[(BODY, nothing)],
        concurrency=CONCURRENCY,
        timers={"sweep": SWEEP_S},
    )
    await worker.start()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], float(sys.argv[3])))
