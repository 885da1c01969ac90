"""The threads of a worker: one loads, as many compute as the engine can, two encode."""

from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Event

ENCODERS = 2
"""A clip takes 0.9 s of one core, a batch of six pictures 0.2 s: two keep up with any device."""


@dataclass(frozen=True, kw_only=True)
class Threads:
    """Where work runs; tests pass executors that they move by hand."""

    load: Executor
    compute: Callable[[int], Executor]
    """Makes the executor for an engine that runs so many attempts at once."""

    encode: Executor


def real_threads() -> Threads:
    """Real threads."""

    def compute(capacity: int) -> Executor:
        executor = ThreadPoolExecutor(capacity, thread_name_prefix="compute")
        # Started now, not while the first callers wait.
        all_asked = Event()
        for _ in range(capacity):
            executor.submit(all_asked.wait)
        all_asked.set()
        return executor

    return Threads(
        load=ThreadPoolExecutor(1, thread_name_prefix="load"),
        compute=compute,
        encode=ThreadPoolExecutor(ENCODERS, thread_name_prefix="encode"),
    )
