"""A Redis server of the bench's own, on a free port and in a folder that is thrown away."""

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.testing.pod_process import free_ports

Durability = Literal["none", "everysec", "always"]
"""What a crash of the server's machine may lose: everything, a second, nothing."""

START_S = 10.0


@contextmanager
def redis_server(durability: Durability) -> Iterator[str]:
    """The URL of a running server; it is ended with the context."""
    program = shutil.which("redis-server")
    if program is None:
        raise ConfigError("redis-server is not installed: apt-get install redis-server")
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="bench-redis-") as folder:
        process = subprocess.Popen(
            [program, *_options(port, folder, durability)], stdout=subprocess.DEVNULL
        )
        try:
            _wait(port)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()
            process.wait()


def server_version() -> str:
    """What the installed server calls itself."""
    done = subprocess.run(["redis-server", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.partition("v=")[2].split()[0]


def _options(port: int, folder: str, durability: Durability) -> list[str]:
    keep = ["--appendonly", "no"]
    if durability != "none":
        keep = ["--appendonly", "yes", "--appendfsync", durability]
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(Path(folder))]
    return [*place, "--save", "", *keep]


def _wait(port: int) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
