"""Run by a test in a process of its own: a crash before every single SQL statement of a job."""

import sqlite3
import sys
from pathlib import Path

from ourvidz_worker.clock import Clock
from ourvidz_worker.queue import QueueSettings
from ourvidz_worker.queue.sqlite import SqliteQueue
from ourvidz_worker.testing.crash_queue import Tick, crash_everywhere


def make(folder: Path, clock: Clock) -> SqliteQueue:
    return SqliteQueue(QueueSettings(state_dir=folder), clock)


def make_armed(folder: Path, clock: Clock, tick: Tick) -> SqliteQueue:
    connect = sqlite3.connect

    def armed(path: Path, *, isolation_level: None, check_same_thread: bool) -> sqlite3.Connection:
        connection = connect(
            path, isolation_level=isolation_level, check_same_thread=check_same_thread
        )
        connection.set_trace_callback(lambda _: tick())
        return connection

    sqlite3.connect = armed  # type: ignore[assignment]
    return make(folder, clock)


sys.stdout.write(f"{crash_everywhere(make, Path(sys.argv[1]), make_armed=make_armed)}\n")
