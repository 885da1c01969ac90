"""Queues: where jobs wait, are leased and end. Choose one by name through `make_queue`."""

from importlib import import_module
from pathlib import Path
from typing import Protocol

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.queue.base import (
    CallbackRow,
    CancelOutcome,
    DeadLetter,
    JobRecord,
    Outbox,
    Queue,
    Settlement,
    SubmitOutcome,
)


class Store(Queue, Outbox, Protocol):
    """A queue that keeps its outbox in the same transactions."""


#: Name to `module:class`; each class takes `(state_dir: Path, clock: Clock, *, max_tries: int)`.
QUEUES = {"sqlite": "ourvidz_worker.queue.sqlite:SqliteQueue"}


def make_queue(name: str, state_dir: Path, clock: Clock, *, max_tries: int = 3) -> Store:
    """Build the queue `name`; it takes the store when it is opened.

    A job leased more than `max_tries` times is handed out as exhausted. Raises `ConfigError` for
    a name that no queue has.
    """
    if name not in QUEUES:
        raise ConfigError(f"queue must be one of {', '.join(sorted(QUEUES))}", field="queue")
    module, _, attribute = QUEUES[name].partition(":")
    store: Store = getattr(import_module(module), attribute)(state_dir, clock, max_tries=max_tries)
    return store


__all__ = [
    "QUEUES",
    "CallbackRow",
    "CancelOutcome",
    "DeadLetter",
    "Depth",
    "JobRecord",
    "Outbox",
    "Queue",
    "Settlement",
    "Store",
    "SubmitOutcome",
    "make_queue",
]
