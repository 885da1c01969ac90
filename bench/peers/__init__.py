"""The peers: other job systems with a body that does nothing, measured by the same script."""

from importlib import import_module
from typing import Protocol


class Producer(Protocol):
    """Hands jobs to one system through its own client."""

    async def open(self) -> None:
        """Connect."""
        ...

    async def enqueue(self, number: int) -> None:
        """Hand in job `number`; return when the system has accepted it."""
        ...

    async def close(self) -> None:
        """Disconnect."""
        ...


#: Name to its module: the worker (`python -m MODULE URL WITNESS BODY_S`) and `make_producer`.
PEERS = {
    "ours": "bench.peers.our_lists",
    "saq": "bench.peers.saq_peer",
    "celery": "bench.peers.celery_peer",
    "taskiq": "bench.peers.taskiq_peer",
}

OURS = "ours"

CONCURRENCY = 10
"""Bodies that each system may run at once."""


def make_producer(name: str, url: str) -> Producer:
    """The producer of one peer; its libraries are imported now."""
    producer: Producer = import_module(PEERS[name]).make_producer(url)
    return producer
