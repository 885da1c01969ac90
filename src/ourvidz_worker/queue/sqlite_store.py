"""A pod's SQLite file: one connection on one thread, and every write a transaction.

Work is a function of the connection. It runs on the writer thread, so the event loop never waits
for a disk, and in a transaction of its own, or, when several pieces wait, together with them in
one: each behind its own savepoint, all of them told only after the one commit. So a slow disk is
paid once for many callers.
"""

import asyncio
import contextlib
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from enum import IntEnum
from importlib.resources import files
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from ourvidz_worker.domain.errors import ConfigError, QueueUnavailable
from ourvidz_worker.queue.sqlite_folder import take_folder

FILE = "queue.sqlite"
SCHEMA = "schema.sql"
VERSION = 1
BUSY_TIMEOUT_MS = 5000
"""How long another process (a person at the sqlite3 prompt) may hold the file."""

JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024

TOGETHER = 64
"""Pieces of work in one commit at most: bounds what one failure repeats, piece by piece."""

T = TypeVar("T")
P = ParamSpec("P")


class Safety(IntEnum):
    """What a power cut may take of a commit; the numbers are those of `PRAGMA synchronous`.

    A killed process loses nothing in either. `NORMAL` is for claims, whose loss costs a job
    nothing but waiting again; `FULL` for what was promised to somebody.
    """

    READ = 0
    NORMAL = 1
    FULL = 2


class SqliteStore:
    """One file in `state_dir`, locked for one pod while it is open; `schema` makes its tables."""

    def __init__(
        self,
        state_dir: Path,
        *,
        file: str = FILE,
        schema: str = SCHEMA,
        busy_timeout_ms: int = BUSY_TIMEOUT_MS,
    ) -> None:
        """Remember where the file lies; nothing is touched before `open`."""
        self._state_dir = state_dir
        self._file = file
        self._schema = schema
        self._busy_timeout_ms = busy_timeout_ms
        self._inbox: SimpleQueue[_Call[Any] | None] = SimpleQueue()
        self._thread: Thread | None = None
        self._held = contextlib.ExitStack()

    async def open(self) -> None:
        """Lock the folder, open the file, make its tables when it is new.

        Raises `ConfigError` for a folder in use, on a network or of a newer version, and
        `QueueUnavailable` when the file cannot be read or written.
        """
        with contextlib.ExitStack() as held:
            held.callback(os.close, await asyncio.to_thread(take_folder, self._state_dir))
            connection = await asyncio.to_thread(
                _connect, self._state_dir / self._file, self._schema, self._busy_timeout_ms
            )
            held.callback(connection.close)
            self._held = held.pop_all()
        self._thread = Thread(
            target=self._serve, args=(connection,), name="queue-writer", daemon=True
        )
        self._thread.start()

    async def close(self) -> None:
        """Finish the work at hand, close the file and give the folder back."""
        if self._thread is None:
            return
        thread, self._thread = self._thread, None
        self._inbox.put(None)
        await asyncio.to_thread(thread.join)
        try:
            await asyncio.to_thread(self._held.close)
        except sqlite3.Error as error:
            raise QueueUnavailable(cause=repr(error)) from error

    async def do(
        self,
        safety: Safety,
        work: Callable[Concatenate[sqlite3.Connection, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run `work(connection, ...)` in a transaction and return what it returned.

        When it raises, nothing of it is written. SQLite's own errors become `QueueUnavailable`.
        """
        if self._thread is None:
            raise QueueUnavailable
        call = _Call(safety, lambda connection: work(connection, *args, **kwargs))
        self._inbox.put(call)
        try:
            return await asyncio.wrap_future(call.future)
        except sqlite3.Error as error:
            raise QueueUnavailable(cause=repr(error)) from error

    def _serve(self, connection: sqlite3.Connection) -> None:
        going = True
        while going:
            taken = self._take()
            going = None not in taken
            calls = [call for call in taken if call and call.future.set_running_or_notify_cancel()]
            if len(calls) <= 1 or not _run_together(connection, calls):
                for call in calls:
                    _run_alone(connection, call)
            for call in calls:
                call.tell()

    def _take(self) -> "list[_Call[Any] | None]":
        taken = [self._inbox.get()]
        with contextlib.suppress(Empty):
            while len(taken) < TOGETHER:
                taken.append(self._inbox.get_nowait())
        return taken


class _Call(Generic[T]):
    """One piece of work, and what became of it until its caller may be told."""

    def __init__(self, safety: Safety, work: Callable[[sqlite3.Connection], T]) -> None:
        self.safety = safety
        self.future: Future[T] = Future()
        self._work = work
        self._outcome = _Outcome[T]()

    @property
    def failed(self) -> bool:
        return self._outcome.error is not None

    def run(self, connection: sqlite3.Connection) -> None:
        """Do the work; only SQLite's errors get out, since they may undo others' work too."""
        self._outcome = _Outcome()
        with self._outcome as outcome:
            outcome.results.append(self._work(connection))

    def fail(self, error: sqlite3.Error) -> None:
        self._outcome.error = error

    def tell(self) -> None:
        if self._outcome.error is not None:
            self.future.set_exception(self._outcome.error)
        else:
            self.future.set_result(self._outcome.results[0])


class _Outcome(Generic[T]):
    """The result of a body, or what it raised: kept for whoever awaits it, not swallowed."""

    def __init__(self) -> None:
        self.results: list[T] = []
        self.error: BaseException | None = None

    def __enter__(self) -> "_Outcome[T]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        self.error = error
        return not isinstance(error, sqlite3.Error)


def _run_together(connection: sqlite3.Connection, calls: Sequence[_Call[Any]]) -> bool:
    """Run all in one transaction; False when nothing was written and each must run alone."""
    safety = max(call.safety for call in calls)
    if safety is Safety.READ:
        return False
    try:
        _begin(connection, safety)
        for call in calls:
            connection.execute("SAVEPOINT piece")
            call.run(connection)
            if call.failed:
                connection.execute("ROLLBACK TO piece")
            connection.execute("RELEASE piece")
        connection.execute("COMMIT")
    except sqlite3.Error:
        _abandon(connection)
        return False
    return True


def _run_alone(connection: sqlite3.Connection, call: _Call[Any]) -> None:
    try:
        if call.safety is Safety.READ:
            call.run(connection)
            return
        _begin(connection, call.safety)
        call.run(connection)
        connection.execute("ROLLBACK" if call.failed else "COMMIT")
    except sqlite3.Error as error:
        _abandon(connection)
        call.fail(error)


def _begin(connection: sqlite3.Connection, safety: Safety) -> None:
    full = safety is Safety.FULL
    connection.execute("PRAGMA synchronous=FULL" if full else "PRAGMA synchronous=NORMAL")
    connection.execute("BEGIN IMMEDIATE")


def _abandon(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")


def _connect(path: Path, schema: str, busy_timeout_ms: int) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except sqlite3.Error as error:
        raise QueueUnavailable(cause=repr(error)) from error
    with contextlib.ExitStack() as opened:
        opened.callback(connection.close)
        try:
            _prepare(connection, schema, busy_timeout_ms)
        except sqlite3.Error as error:
            raise QueueUnavailable(cause=repr(error)) from error
        opened.pop_all()
    return connection


def _prepare(connection: sqlite3.Connection, schema: str, busy_timeout_ms: int) -> None:
    connection.execute(f"PRAGMA busy_timeout={busy_timeout_ms}")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise ConfigError(
            f"the queue in STATE_DIR has version {version}, this program knows {VERSION}; "
            "use the newer program or another folder",
            field="state_dir",
        )
    (mode,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if mode != "wal":
        raise ConfigError(
            "STATE_DIR lies on a file system without shared memory; choose a local disk",
            field="state_dir",
        )
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA trusted_schema=OFF")
    connection.execute(f"PRAGMA journal_size_limit={JOURNAL_LIMIT_BYTES}")
    if version == 0:
        tables = files("ourvidz_worker.queue").joinpath("sql", schema)
        connection.executescript(tables.read_text(encoding="utf-8"))
