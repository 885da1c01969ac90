"""A PostgreSQL server of a test's own: in a folder that is thrown away, on a socket file alone.

It is as strict as any other, but keeps nothing: a crash of the machine may lose what it holds.
"""

import os
import pwd
import shutil
import signal
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

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}

#: A test's server gives up durability for speed, and tells little but that it is up.
OPTIONS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "listen_addresses=",
    "log_min_messages=log",
    "log_checkpoints=off",
)
READY = b"database system is ready to accept connections"


class PostgresServer:
    """A running server; `database` gives each test an empty place on it."""

    def __init__(self, folder: Path) -> None:
        """Nothing runs yet; `folder` is given to the account that the server runs as."""
        self._folder = folder
        self._numbers = count(1)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process, once it has been started."""
        return self._started().pid

    def start(self) -> None:
        """Make a cluster and start it. Raises `ConfigError` without PostgreSQL."""
        account = _account()
        if account is not None:
            os.chown(self._folder, account.pw_uid, account.pw_gid)
        data = str(self._folder / "data")
        made = ("-D", data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        _make_cluster(*made, "--locale=C")
        options = [word for option in OPTIONS for word in ("-c", option)]
        self._process = subprocess.Popen(
            [*_as_account(), find_program("postgres"), "-D", data, "-k", self._folder, *options],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd="/",
            env=ENVIRONMENT,
            start_new_session=True,
        )
        _wait_until_ready(self._process)

    def stop(self) -> None:
        """End the server at once."""
        process = self._started()
        process.send_signal(signal.SIGQUIT)
        process.communicate()

    def database(self) -> str:
        """Make room for tables that nobody else sees, and return how to connect to it.

        It is a schema of its own: a database would take a hundred times as long to make.
        """
        name = f"test_{next(self._numbers)}"
        address = f"host={self._folder} user=postgres dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE SCHEMA {name}")
        return f"{address} options=-csearch_path={name}"

    def _started(self) -> "subprocess.Popen[bytes]":
        assert self._process is not None, "start the server first"
        return self._process


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server that lives as long as the context, and no longer than the thread that began it."""
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


def _make_cluster(*arguments: str) -> None:
    done = subprocess.run(
        [*_as_account(), find_program("initdb"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        cwd="/",
        env=ENVIRONMENT,
        check=False,
    )
    if done.returncode != 0:
        raise ConfigError(f"initdb failed: {done.stderr.decode(errors='replace')[-500:]}")


def _as_account() -> list[str]:
    """What goes before a program so that it runs as an account that PostgreSQL accepts.

    What it starts ends with us, even when we are killed; without that tool it would stay.
    """
    guard = shutil.which("setpriv")
    account = _account()
    if account is None:
        return [] if guard is None else [guard, "--pdeathsig=QUIT"]
    if guard is None:
        raise ConfigError("PostgreSQL does not run as root, and setpriv is not installed")
    ids = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"]
    return [guard, *ids, "--pdeathsig=QUIT"]


def _account() -> pwd.struct_passwd | None:
    """Whom the server runs as; None: ourselves, which any account but root may."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    return next(known[name] for name in ACCOUNTS if name in known)


def _wait_until_ready(process: "subprocess.Popen[bytes]") -> None:
    assert process.stderr is not None, "it is piped"
    told = b""
    for line in process.stderr:
        told += line
        if READY in line:
            return
    raise ConfigError(f"postgres did not start: {told.decode(errors='replace')[-500:]}")
