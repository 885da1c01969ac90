"""What every test shares."""

from collections.abc import Iterator

import pytest

from ourvidz_worker.testing.postgres import PostgresServer, postgres_server
from ourvidz_worker.testing.supabase import SupabaseEmulator


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio alone."""
    return "asyncio"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL for all tests; each takes a database of its own."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def supabase(postgres: PostgresServer) -> Iterator[SupabaseEmulator]:
    """The application's Supabase, empty, on a port of its own."""
    with SupabaseEmulator(postgres.database()) as emulator:
        yield emulator
