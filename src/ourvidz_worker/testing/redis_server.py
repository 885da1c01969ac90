"""A real Redis server for tests: on a free port of this machine, in a folder of its own."""

import shutil
import signal
import socket
import subprocess
from itertools import count
from pathlib import Path

import redis

PROGRAM = "redis-server"
READY = "Ready to accept connections"
DATABASES = 512


class RedisServer:
    """One server; `with` it. `durable` writes every change to disk before it is answered."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        """Choose a port; nothing runs before it is entered."""
        self._folder = folder
        self._durable = durable
        self.port = _free_port()
        self._process: subprocess.Popen[str] | None = None
        self._numbers = count()

    def __enter__(self) -> "RedisServer":
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, again or for the first time, and wait until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": str(self.port),
            "dir": str(self._folder),
            "save": "",
            "appendonly": "yes" if self._durable else "no",
            "appendfsync": "always",
            "databases": str(DATABASES),
        }
        command = [part for name, value in options.items() for part in (f"--{name}", value)]
        program = shutil.which(PROGRAM)
        assert program is not None, f"{PROGRAM} is not installed: apt-get install redis-server"
        self._process = subprocess.Popen([program, *command], stdout=subprocess.PIPE, text=True)
        self._await_ready(self._process)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it; with SIGKILL as a machine ends that loses its power."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.communicate()

    def url(self, database: int = 0) -> str:
        """The address of one database."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def fresh(self) -> int:
        """The number of an empty database, another one each time."""
        number = 1 + next(self._numbers) % (DATABASES - 1)
        with self.client(number) as client:
            client.flushdb()
        return number

    def client(self, database: int = 0) -> redis.Redis:
        """A plain client of one database; close it."""
        return redis.Redis(port=self.port, db=database, protocol=2)

    def _await_ready(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line)
            if READY in line:
                return
        raise AssertionError("".join(told))


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
