"""taskiq on a Redis stream, which is acknowledged after the body; one worker process.

A message of a dead consumer is claimed by another one after `IDLE_MS`; the default of ten minutes
would make its recovery as slow.
"""

import asyncio
import sys

from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker

from bench import witness
from bench.peers import CONCURRENCY

BODY = "nothing"
IDLE_MS = 15_000


class TaskiqProducer:
    """Enqueues through taskiq's client."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet."""
        self._broker = make_broker(url)
        self._task = self._broker.register_task(_nowhere, task_name=BODY)

    async def open(self) -> None:
        """Connect."""
        await self._broker.startup()

    async def enqueue(self, number: int) -> None:
        """Hand in one job."""
        await self._task.kiq(number)

    async def close(self) -> None:
        """Disconnect."""
        await self._broker.shutdown()


def make_producer(url: str) -> TaskiqProducer:
    """The producer for the server at `url`."""
    return TaskiqProducer(url)


def make_broker(url: str) -> RedisStreamBroker:
    """The broker of both sides."""
    return RedisStreamBroker(url, idle_timeout=IDLE_MS)


async def work(url: str, path: str, body_s: float) -> None:
    """Be a worker until a signal."""
    broker = make_broker(url)

    async def nothing(number: int) -> None:
        witness.note(path, witness.BEGIN, number)
        await asyncio.sleep(body_s)
        witness.note(path, witness.END, number)

    broker.register_task(nothing, task_name=BODY)
    broker.is_worker_process = True
    await broker.startup()
    await run_receiver_task(broker, max_async_tasks=CONCURRENCY, run_startup=False)


async def _nowhere(number: int) -> None:
    """The producer's side of the body, which only the worker has."""


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], sys.argv[2], float(sys.argv[3])))
