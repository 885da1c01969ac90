"""Queues: where jobs wait, are leased and end. Choose one by name through `make_queue`."""

from importlib import import_module
from typing import Protocol

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.queue.base import (
    CallbackRow,
    CancelOutcome,
    DeadCallback,
    DeadLetter,
    JobRecord,
    Outbox,
    Queue,
    Settlement,
    SubmitOutcome,
)
from ourvidz_worker.queue.settings import QueueSettings


class Store(Queue, Outbox, Protocol):
    """A queue that keeps its outbox in the same transactions."""


#: Name to `module:class`; each class takes `(settings: QueueSettings, clock: Clock)`.
QUEUES = {
    "sqlite": "ourvidz_worker.queue.sqlite:SqliteQueue",
    "redis": "ourvidz_worker.queue.redis_queue:RedisQueue",
    "upstash": "ourvidz_worker.queue.upstash_queue:UpstashQueue",
}


def make_queue(name: str, settings: QueueSettings, clock: Clock) -> Store:
    """Build the queue `name`; it takes the store when it is opened.

    Raises `ConfigError` for a name that no queue has.
    """
    if name not in QUEUES:
        raise ConfigError(f"queue must be one of {', '.join(sorted(QUEUES))}", field="queue")
    module, _, attribute = QUEUES[name].partition(":")
    store: Store = getattr(import_module(module), attribute)(settings, clock)
    return store


__all__ = [
    "QUEUES",
    "CallbackRow",
    "CancelOutcome",
    "DeadCallback",
    "DeadLetter",
    "Depth",
    "JobRecord",
    "Outbox",
    "Queue",
    "QueueSettings",
    "Settlement",
    "Store",
    "SubmitOutcome",
    "make_queue",
]
