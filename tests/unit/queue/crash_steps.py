"""Run by a test in a process of its own: a crash around every step of a job in the lists.

A step is a script on the server, or a piece of work on the pod's own file.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ourvidz_worker.clock import Clock
from ourvidz_worker.queue import Store
from ourvidz_worker.queue.list_queue import ListQueue
from ourvidz_worker.testing.crash_queue import Tick, crash_everywhere, maker

Work = Callable[..., Any]

make = maker("redis", sys.argv[2])


def make_armed(folder: Path, clock: Clock, tick: Tick) -> Store:
    store = make(folder, clock)
    assert isinstance(store, ListQueue)

    def armed(work: Work) -> Work:
        async def ticking(*arguments: object, **named: object) -> object:
            tick()
            answer = await work(*arguments, **named)
            tick()
            return answer

        return ticking

    wire, file = store._steps._wire, store._outbox._store
    wire.evaluate = armed(wire.evaluate)  # type: ignore[method-assign]
    file.do = armed(file.do)  # type: ignore[method-assign]
    return store


sys.stdout.write(f"{crash_everywhere(make, Path(sys.argv[1]), make_armed=make_armed)}\n")
