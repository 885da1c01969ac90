"""The emulator, or any other application, on a real port of this machine, in its own thread."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from ourvidz_worker.clock import Clock, SystemClock
from ourvidz_worker.testing.supabase.answers import CuttableProtocol
from ourvidz_worker.testing.supabase.database import Database
from ourvidz_worker.testing.supabase.emulator import make_emulator
from ourvidz_worker.testing.supabase.state import Keys, State

START_S = 30.0
LAST_ANSWERS_S = 1
"""How long calls that are still open at the end are waited for."""


class LocalServer(uvicorn.Server):
    """An application on a port of this machine, which is taken at once."""

    def __init__(self, app: ASGIApp, *, port: int = 0) -> None:
        """Port 0 takes a free one."""
        config = uvicorn.Config(
            app,
            http=CuttableProtocol,
            ws="none",
            log_level="critical",
            timeout_graceful_shutdown=LAST_ANSWERS_S,
        )
        super().__init__(config)
        self._up = Event()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", port))
        self._thread = Thread(target=self._serve_here, name="local-server", daemon=True)

    @property
    def url(self) -> str:
        """Its address; the host is a name, because that of a reference must be one."""
        return f"http://localhost:{self._socket.getsockname()[1]}"

    def begin(self) -> None:
        """Serve in another thread, and return once it does."""
        self._thread.start()
        assert self._up.wait(START_S), "the server did not start"

    def end(self) -> None:
        """Stop serving."""
        self.should_exit = True
        self._thread.join()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start as usual, and tell who waits for it."""
        await super().startup(sockets)
        if self.started:
            self._up.set()

    def _serve_here(self) -> None:
        self.run(sockets=[self._socket])


class SupabaseEmulator:
    """The emulator in a thread of its own; a context that ends it.

    `state` may be read and steered from any thread.
    """

    def __init__(
        self, address: str, *, keys: Keys | None = None, clock: Clock | None = None, port: int = 0
    ) -> None:
        """`address` is the database's; port 0 takes a free one."""
        self.address = address
        self.state = State(
            database=Database(address), keys=keys or Keys(), clock=clock or SystemClock()
        )
        self._server = LocalServer(make_emulator(self.state), port=port)

    def __enter__(self) -> Self:
        self._server.begin()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.end()

    @property
    def url(self) -> str:
        """What `SUPABASE_URL` is set to."""
        return self._server.url


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """The URL of any other application, such as a pod that is only played."""
    server = LocalServer(app)
    server.begin()
    try:
        yield server.url
    finally:
        server.end()
