"""The emulator's rows, in a real PostgreSQL: jobs, assets and the one configuration row."""

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg.sql import SQL, Composed, Identifier
from psycopg.types.json import Jsonb

Row = dict[str, Any]
TABLES = ("jobs", "workspace_assets", "system_config")


class Database:
    """One connection, each statement by itself: nothing here holds a lock over two of them."""

    def __init__(self, address: str) -> None:
        """`address` is PostgreSQL's own connection string."""
        self._address = address
        self._connection: AsyncConnection[Row] | None = None

    async def open(self) -> None:
        """Connect, and make the tables that are not there yet."""
        self._connection = await AsyncConnection.connect(
            self._address, autocommit=True, row_factory=dict_row
        )
        schema = files(__package__).joinpath("schema.sql").read_bytes()
        await self._open().execute(schema)

    async def close(self) -> None:
        """Let the connection go."""
        await self._open().close()

    async def select(
        self, table: str, columns: Sequence[str], where: Mapping[str, str]
    ) -> list[Row]:
        """The columns of the rows that equal `where`. Raises `psycopg.Error`."""
        query = SQL("SELECT {} FROM {}{}").format(
            SQL(", ").join(map(Identifier, columns)) if columns else SQL("*"),
            Identifier(table),
            _where(where),
        )
        return await self.fetch(query, list(where.values()))

    async def update(self, table: str, values: Row, where: Mapping[str, str]) -> list[Row]:
        """Change the rows that equal `where` and return them. Raises `psycopg.Error`."""
        sets = SQL(", ").join(SQL("{} = %s").format(Identifier(name)) for name in values)
        query = SQL("UPDATE {} SET {}{} RETURNING *").format(Identifier(table), sets, _where(where))
        return await self.fetch(query, [*map(_adapted, values.values()), *where.values()])

    async def config(self) -> Row:
        """The configuration as it is now."""
        (row,) = await self.select("system_config", ["config"], {"id": "1"})
        config: Row = row["config"]
        return config

    async def write_config(self, config: Row) -> None:
        """Replace the whole configuration, whatever somebody else wrote meanwhile."""
        await self.update("system_config", {"config": config}, {"id": "1"})

    async def job(self, job_id: str) -> Row | None:
        """The row of one job, or None."""
        rows = await self.select("jobs", [], {"id": job_id})
        return rows[0] if rows else None

    async def insert_asset(self, asset: Row) -> bool:
        """Insert an asset; False where this job already has one of that index or seed."""
        query = SQL(
            "INSERT INTO workspace_assets ({}) VALUES ({}) ON CONFLICT DO NOTHING RETURNING id"
        ).format(
            SQL(", ").join(map(Identifier, asset)),
            SQL(", ").join(SQL("%s") for _ in asset),
        )
        return bool(await self.fetch(query, [_adapted(value) for value in asset.values()]))

    async def has_asset(self, job_id: str, path: str) -> bool:
        """True when that very file is an asset of the job already."""
        where = {"job_id": job_id, "temp_storage_path": path}
        return bool(await self.select("workspace_assets", ["id"], where))

    async def fetch(self, query: Composed, values: Sequence[object]) -> list[Row]:
        """The rows that a statement returns. Raises `psycopg.Error`."""
        cursor = await self._open().execute(query, values)
        return await cursor.fetchall()

    def _open(self) -> AsyncConnection[Row]:
        assert self._connection is not None, "open the database first"
        return self._connection


def _where(where: Mapping[str, str]) -> Composed:
    """A condition that compares as text, as a filter of a URL does."""
    if not where:
        return Composed([])
    tests = [SQL("{}::text = %s").format(Identifier(name)) for name in where]
    return SQL(" WHERE {}").format(SQL(" AND ").join(tests))


def _adapted(value: object) -> object:
    return Jsonb(value) if isinstance(value, dict | list) else value
