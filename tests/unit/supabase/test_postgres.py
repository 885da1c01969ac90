"""A test's own PostgreSQL: each test has a place of its own, and nothing stays behind."""

import signal
import subprocess
import sys

import psutil
import psycopg

from ourvidz_worker.testing.postgres import PostgresServer, find_program

STARTS_ONE = """
import signal
from ourvidz_worker.testing.postgres import postgres_server
with postgres_server() as server:
    print(server.pid, flush=True)
    signal.pause()
"""


def test_each_test_sees_its_own_tables_alone(postgres: PostgresServer) -> None:
    first, second = postgres.database(), postgres.database()
    with psycopg.connect(first, autocommit=True) as connection:
        connection.execute("CREATE TABLE things (id integer)")
    with psycopg.connect(second) as connection:
        found = connection.execute("SELECT to_regclass('things')").fetchone()
    assert found == (None,)


def test_its_programs_are_found() -> None:
    assert find_program("initdb").endswith("initdb")


def test_a_killed_test_leaves_no_server() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS_ONE], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        server = psutil.Process(int(process.stdout.readline()))
        process.send_signal(signal.SIGKILL)
        assert psutil.wait_procs([server], timeout=20)[1] == []
