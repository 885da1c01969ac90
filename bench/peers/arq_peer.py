"""arq with its own defaults, one worker process."""

import sys
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.worker import Worker, func

from bench import witness
from bench.peers import CONCURRENCY

BODY = "nothing"


class ArqProducer:
    """Enqueues through arq's client."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet."""
        self._settings = RedisSettings.from_dsn(url)
        self._pool: ArqRedis | None = None

    async def open(self) -> None:
        """Connect."""
        self._pool = await create_pool(self._settings)

    async def enqueue(self, number: int) -> None:
        """Hand in one job."""
        if self._pool is None:
            raise RuntimeError("not open")
        await self._pool.enqueue_job(BODY, number)

    async def close(self) -> None:
        """Disconnect."""
        if self._pool is not None:
            await self._pool.aclose()


def make_producer(url: str) -> ArqProducer:
    """The producer for the server at `url`."""
    return ArqProducer(url)


def work(url: str, path: str) -> None:
    """Be a worker until a signal."""

    async def nothing(_: dict[Any, Any], number: int) -> None:
        witness.note(path, witness.BEGIN, number)
        witness.note(path, witness.END, number)

    worker = Worker(
        functions=[func(nothing, name=BODY)],  # type: ignore[arg-type]  # arq's own example
        redis_settings=RedisSettings.from_dsn(url),
        max_jobs=CONCURRENCY,
    )
    worker.run()


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2])
