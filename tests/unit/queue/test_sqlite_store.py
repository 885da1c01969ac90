import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from ourvidz_worker.domain.errors import ConfigError, Conflict, QueueUnavailable
from ourvidz_worker.queue.sqlite_store import FILE, TOGETHER, VERSION, Safety, SqliteStore

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(tmp_path, busy_timeout_ms=1)
    await store.open()
    await store.do(Safety.FULL, _run, "CREATE TABLE notes (text TEXT NOT NULL) STRICT")
    yield store
    await store.close()


def _run(connection: sqlite3.Connection, sql: str, *values: object) -> None:
    connection.execute(sql, values)


def _note(connection: sqlite3.Connection, text: str) -> None:
    connection.execute("INSERT INTO notes VALUES (?)", (text,))


def _note_and_raise(connection: sqlite3.Connection, text: str, error: Exception) -> None:
    _note(connection, text)
    raise error


def _notes(connection: sqlite3.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM notes ORDER BY rowid")]


def _pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


async def test_a_second_pod_is_refused_and_told_where(store: SqliteStore, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path} is already in use"):
        await SqliteStore(tmp_path).open()
    await store.do(Safety.FULL, _note, "still ours")
    await store.close()
    second = SqliteStore(tmp_path)
    await second.open()
    assert await second.do(Safety.READ, _notes) == ["still ours"]
    await second.close()


async def test_a_newer_file_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        connection.execute(f"PRAGMA user_version={VERSION + 1}")
        connection.execute("CREATE TABLE future (a)")
        connection.commit()
    before = (tmp_path / FILE).read_bytes()
    with pytest.raises(ConfigError, match=f"version {VERSION + 1}"):
        await SqliteStore(tmp_path).open()
    assert (tmp_path / FILE).read_bytes() == before
    (tmp_path / FILE).unlink()
    await _opens(tmp_path)


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"not a database" * 400)
    with pytest.raises(QueueUnavailable) as refused:
        await SqliteStore(tmp_path).open()
    assert isinstance(refused.value.__cause__, sqlite3.DatabaseError)
    (tmp_path / FILE).unlink()
    await _opens(tmp_path)


async def test_a_path_that_is_no_folder_is_the_operators_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="cannot be used as a folder"):
        await SqliteStore(tmp_path / "file").open()
    (tmp_path / "state" / FILE).mkdir(parents=True)
    with pytest.raises(QueueUnavailable):
        await SqliteStore(tmp_path / "state").open()


async def test_the_file_is_in_wal_mode_with_strict_tables(store: SqliteStore) -> None:
    assert await store.do(Safety.READ, _pragma, "journal_mode") == "wal"
    assert await store.do(Safety.READ, _pragma, "foreign_keys") == 1
    assert await store.do(Safety.READ, _pragma, "user_version") == VERSION

    def lax(connection: sqlite3.Connection) -> list[str]:
        return [row[1] for row in connection.execute("PRAGMA table_list") if not _strict(row)]

    def _strict(row: tuple[str, str, str, int, int, int]) -> bool:
        return bool(row[5]) or row[2] == "view" or row[1].startswith("sqlite_")

    assert await store.do(Safety.READ, lax) == []


async def test_what_was_promised_is_synced_and_claims_are_not(store: SqliteStore) -> None:
    for safety in (Safety.FULL, Safety.NORMAL, Safety.FULL):
        assert await store.do(safety, _pragma, "synchronous") == safety


async def test_an_error_undoes_its_own_work_alone(store: SqliteStore) -> None:
    results = await asyncio.gather(
        store.do(Safety.FULL, _note, "a"),
        store.do(Safety.FULL, _note_and_raise, "b", Conflict()),
        store.do(Safety.NORMAL, _note, "c"),
        store.do(Safety.FULL, _note_and_raise, "d", TypeError("a bug")),
        store.do(Safety.READ, _notes),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == [
        "NoneType",
        "Conflict",
        "NoneType",
        "TypeError",
        "list",
    ]
    with pytest.raises(Conflict):
        await store.do(Safety.FULL, _note_and_raise, "e", Conflict())
    assert await store.do(Safety.READ, _notes) == ["a", "c"]


class Slow:
    """Work that holds the writer thread until it is let go."""

    def __init__(self, store: SqliteStore) -> None:
        self._begun, self._go_on = threading.Event(), threading.Event()
        self._work = asyncio.create_task(store.do(Safety.READ, self._hold))

    async def begun(self) -> None:
        assert await asyncio.to_thread(self._begun.wait, 30)

    async def let_go(self) -> None:
        assert not self._work.done()
        self._go_on.set()
        assert await self._work

    def _hold(self, _: sqlite3.Connection) -> bool:
        self._begun.set()
        return self._go_on.wait(30)


async def test_work_that_waits_shares_one_commit(store: SqliteStore) -> None:
    statements: list[str] = []

    def watch(connection: sqlite3.Connection) -> None:
        connection.set_trace_callback(statements.append)

    await store.do(Safety.READ, watch)
    slow = Slow(store)
    await slow.begun()
    notes = [asyncio.create_task(store.do(Safety.FULL, _note, str(n))) for n in range(TOGETHER)]
    await _begin()
    await slow.let_go()
    await asyncio.gather(*notes)
    assert statements.count("COMMIT") == 1
    assert await store.do(Safety.READ, _notes) == [str(n) for n in range(TOGETHER)]


async def test_a_failure_of_the_file_costs_only_those_it_concerns(store: SqliteStore) -> None:
    results = await asyncio.gather(
        store.do(Safety.FULL, _note, "a"),
        store.do(Safety.FULL, _run, "INSERT INTO notes VALUES (NULL)"),
        store.do(Safety.FULL, _note, "b"),
        return_exceptions=True,
    )
    assert [type(result).__name__ for result in results] == [
        "NoneType",
        "QueueUnavailable",
        "NoneType",
    ]
    assert await store.do(Safety.READ, _notes) == ["a", "b"]


async def test_a_full_disk_is_unavailable_and_writes_nothing(store: SqliteStore) -> None:
    pages = await store.do(Safety.READ, _pragma, "page_count")
    await store.do(Safety.READ, _pragma, f"max_page_count={pages}")
    with pytest.raises(QueueUnavailable) as refused:
        await store.do(Safety.FULL, _note, "x" * 100_000)
    assert "full" in str(refused.value.__cause__)
    assert await store.do(Safety.READ, _notes) == []
    await store.do(Safety.READ, _pragma, "max_page_count=100000")
    await store.do(Safety.FULL, _note, "room again")
    assert await store.do(Safety.READ, _notes) == ["room again"]


async def test_a_file_locked_by_a_person_is_unavailable(store: SqliteStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE, isolation_level=None)) as person:
        person.execute("BEGIN IMMEDIATE")
        with pytest.raises(QueueUnavailable) as refused:
            await store.do(Safety.FULL, _note, "a")
        assert "locked" in str(refused.value.__cause__)
        assert await store.do(Safety.READ, _notes) == []
        person.execute("ROLLBACK")
    await store.do(Safety.FULL, _note, "b")
    assert await store.do(Safety.READ, _notes) == ["b"]


async def test_the_loop_goes_on_while_the_disk_is_slow(store: SqliteStore) -> None:
    slow = Slow(store)
    await slow.begun()
    await _begin()
    await slow.let_go()
    assert await store.do(Safety.READ, _notes) == []


async def test_work_cancelled_before_it_began_is_never_done(store: SqliteStore) -> None:
    slow = Slow(store)
    await slow.begun()
    late = asyncio.create_task(store.do(Safety.FULL, _note, "never"))
    await _begin()
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    await slow.let_go()
    assert await store.do(Safety.READ, _notes) == []


async def test_closing_finishes_what_was_begun(store: SqliteStore, tmp_path: Path) -> None:
    late = [asyncio.create_task(store.do(Safety.FULL, _note, str(n))) for n in range(5)]
    await _begin()
    await store.close()
    await asyncio.gather(*late)
    with pytest.raises(QueueUnavailable):
        await store.do(Safety.READ, _notes)
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert _notes(connection) == [str(n) for n in range(5)]


async def _begin() -> None:
    """Let the tasks that were just made run up to their first wait."""
    await asyncio.to_thread(len, ())


async def _opens(folder: Path) -> None:
    store = SqliteStore(folder)
    await store.open()
    assert await store.do(Safety.READ, _pragma, "user_version") == VERSION
    await store.close()
