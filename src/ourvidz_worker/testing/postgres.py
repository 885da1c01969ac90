"""A PostgreSQL server of a test's own: in a folder that is thrown away, on a socket file alone.

It is as strict as any other, but keeps nothing: a crash of the machine may lose what it holds.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import psycopg

from ourvidz_worker.domain.errors import ConfigError

INSTALLED = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs, by version."""

ACCOUNTS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root; the first of these that exists is used instead."""

#: A test's server gives up durability for speed.
OPTIONS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "listen_addresses=")

START_S = 60


class PostgresServer:
    """A running server; `database` gives each test an empty place on it."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet; `folder` is given to the account that the server runs as."""
        self._folder = folder
        self._numbers = count(1)

    def start(self) -> None:
        """Make a cluster and start it. Raises `ConfigError` without PostgreSQL."""
        _give(self._folder)
        data = str(self._folder / "data")
        made = ("-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        _run("initdb", *made, "--locale=C")
        options = f"-k {self._folder} " + " ".join(f"-c {option}" for option in OPTIONS)
        log = str(self._folder / "log")
        _run("pg_ctl", "-D", data, "-w", "-t", str(START_S), "-l", log, "-o", options, "start")

    def stop(self) -> None:
        """End the server at once."""
        _run("pg_ctl", "-D", str(self._folder / "data"), "-w", "-m", "immediate", "stop")

    def database(self) -> str:
        """Make room for tables that nobody else sees, and return how to connect to it.

        It is a schema of its own: a database would take a hundred times as long to make.
        """
        name = f"test_{next(self._numbers)}"
        address = f"host={self._folder} user=postgres dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{address} options=-csearch_path={name}"


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that lives as long as the context."""
    with tempfile.TemporaryDirectory(prefix="pg-", ignore_cleanup_errors=True) as folder:
        server = PostgresServer(Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


def find_program(name: str) -> str:
    """Where a PostgreSQL program lies. Raises `ConfigError` when it is not installed."""
    found = shutil.which(name)
    if found is not None:
        return found
    versions = sorted(INSTALLED.glob(f"*/bin/{name}"), reverse=True)
    if not versions:
        raise ConfigError("PostgreSQL is not installed: apt-get install postgresql")
    return str(versions[0])


def _run(name: str, *arguments: str) -> None:
    """Run a program to its end, as an account that PostgreSQL accepts."""
    account = _account()
    done = subprocess.run(
        [find_program(name), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
        user=None if account is None else account.pw_uid,
        group=None if account is None else account.pw_gid,
        extra_groups=None if account is None else [],
        start_new_session=True,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(f"{name} failed: {done.stderr.decode(errors='replace')[-500:]}")


def _give(folder: Path) -> None:
    account = _account()
    if account is not None:
        os.chown(folder, account.pw_uid, account.pw_gid)


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; None: ourselves, which any account but root may."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in ACCOUNTS if name in known)
