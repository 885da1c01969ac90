"""Listening sockets: bound before anything else, so that a port in use is told at once."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from ourvidz_worker.domain.errors import ConfigError

BACKLOG = 1024


@contextmanager
def listen(host: str, port: int, variable: str) -> Iterator[socket.socket]:
    """A socket that listens on `host:port`. Raises `ConfigError` naming the variable."""
    try:
        listener = socket.create_server((host, port), backlog=BACKLOG)
    except OSError as error:
        raise ConfigError(
            f"{variable}: port {port} of {host} cannot be used ({error.strerror})"
        ) from error
    # Without this each reply waits 40 ms: asyncio does not set it on sockets made here.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with listener:
        yield listener
