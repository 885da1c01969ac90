"""Celery with threads and late acknowledgement, one worker process.

It is given the settings that recover the most after a kill.
"""

import sys
import time
from typing import Any

from celery import Celery  # type: ignore[import-untyped]

from bench import witness
from bench.peers import CONCURRENCY

BODY = "nothing"
VISIBLE_AGAIN_S = 20
"""A message that nobody acknowledged is given out again after this; the default is an hour."""


class CeleryProducer:
    """Enqueues through Celery's client."""

    def __init__(self, url: str) -> None:
        """Nothing is connected yet."""
        self._app = make_app(url)

    async def open(self) -> None:
        """Connect."""
        self._app.connection_for_write().ensure_connection(max_retries=3)

    async def enqueue(self, number: int) -> None:
        """Hand in one job."""
        self._app.send_task(BODY, (number,))

    async def close(self) -> None:
        """Disconnect."""
        self._app.close()


def make_producer(url: str) -> CeleryProducer:
    """The producer for the server at `url`."""
    return CeleryProducer(url)


def make_app(url: str) -> Any:  # noqa: ANN401 - Celery has no types
    """The application of both sides: late acknowledgement, no results kept."""
    app = Celery("bench", broker=url)
    app.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        broker_transport_options={"visibility_timeout": VISIBLE_AGAIN_S},
    )
    return app


def work(url: str, path: str, body_s: float) -> None:
    """Be a worker until a signal."""
    app = make_app(url)

    @app.task(name=BODY)  # type: ignore[untyped-decorator]
    def nothing(number: int) -> None:
        witness.note(path, witness.BEGIN, number)
        time.sleep(body_s)
        witness.note(path, witness.END, number)

    arguments = ["worker", "--pool", "threads", "--concurrency", str(CONCURRENCY)]
    app.worker_main([*arguments, "--loglevel", "ERROR"])


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2], float(sys.argv[3]))
