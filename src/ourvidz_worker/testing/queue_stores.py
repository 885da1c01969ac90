"""Every registered queue, ready to be tested: with the real servers that it needs."""

from contextlib import ExitStack
from pathlib import Path

from ourvidz_worker.clock import Clock
from ourvidz_worker.queue import QueueSettings, Store, make_queue
from ourvidz_worker.testing.queue_bench import Make
from ourvidz_worker.testing.redis_server import RedisServer
from ourvidz_worker.testing.upstash_front import UpstashFront


class QueueStores:
    """Builds queues by name, each state folder on a database of its own; `with` it.

    Servers start when a queue first needs them. All deadlines go by the clock that a test owns.
    """

    def __init__(self, folder: Path) -> None:
        """Keep the servers' files in `folder`."""
        self._folder = folder
        self._held = ExitStack()
        self._server: RedisServer | None = None
        self._front: UpstashFront | None = None
        self._databases: dict[Path, int] = {}

    def __enter__(self) -> "QueueStores":
        return self

    def __exit__(self, *raised: object) -> None:
        self._held.close()

    @property
    def server(self) -> RedisServer:
        """The Redis server."""
        if self._server is None:
            self._server = self._held.enter_context(RedisServer(self._folder / "redis"))
        return self._server

    @property
    def front(self) -> UpstashFront:
        """The REST front before it."""
        if self._front is None:
            self._front = self._held.enter_context(UpstashFront(self.server.port))
        return self._front

    def maker(self, name: str) -> Make:
        """What builds the queue `name` on a state folder, and again on the same one."""

        def make(folder: Path, clock: Clock) -> Store:
            return make_queue(name, self.settings(name, folder), clock)

        return make

    def settings(self, name: str, folder: Path, *, beside: Path | None = None) -> QueueSettings:
        """The settings of the queue `name` on a state folder.

        `beside` is the state folder of another pod, with which this one shares the lists.
        """
        if name == "sqlite":
            return QueueSettings(state_dir=folder)
        database = self.database(beside or folder)
        if name == "upstash":
            url, token = self.front.url, self.front.token(database)
        else:
            url, token = self.server.url(database), ""
        return QueueSettings(state_dir=folder, url=url, token=token, server_time=False)

    def database(self, folder: Path) -> int:
        """The number of the database that belongs to a state folder."""
        if folder not in self._databases:
            self._databases[folder] = self.server.fresh()
        return self._databases[folder]
