"""A whole deployment on this machine: Redis, the application's side, and pods, each a process.

Nothing in it stands in for the system itself: pods are started by their command, jobs are pushed
as the application pushes them, and what the application saw is asked of the application.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ourvidz_worker.testing.pod_process import PodProcess
from ourvidz_worker.testing.redis_server import RedisServer
from ourvidz_worker.testing.supabase import Application, Keys, supabase_process

WORKER_KEY = "worker-key-of-the-deployment"

FAKE: Mapping[str, str] = {f"OURVIDZ_{lane}_ENGINE": "fake" for lane in ("IMAGE", "CHAT", "VIDEO")}
"""Every lane on the fake engine."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """A running Redis and application; pods come and go."""

    folder: Path
    redis: RedisServer
    application: Application
    supabase_url: str
    keys: Keys

    def environment(self, **settings: str) -> dict[str, str]:
        """What a pod of this deployment is given."""
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "BIND_HOST": "127.0.0.1",
            "SUPABASE_URL": self.supabase_url,
            "SUPABASE_SERVICE_ROLE_KEY": self.keys.service,
            "JOB_CALLBACK_SECRET": self.keys.callback_secret,
            "REDIS_URL": self.redis.url(),
            "WAN_WORKER_API_KEY": WORKER_KEY,
            **settings,
        }

    def pod(self, name: str, *arguments: str, **settings: str) -> PodProcess:
        """A pod that is not started yet; a second one of the same name continues its state.

        `arguments` are options of `up`, `settings` are environment variables.
        """
        return PodProcess(
            self.folder / name,
            log=self.folder / f"{name}.log",
            arguments=arguments,
            environment=self.environment(WORKER_ID=name, **settings),
        )


@contextmanager
def deployment(folder: Path, *, keys: Keys | None = None) -> Iterator[Deployment]:
    """Redis and the application, ended with the context."""
    chosen = keys or Keys()
    with ExitStack() as stack:
        server = stack.enter_context(RedisServer(folder / "redis", durable=True))
        client = stack.enter_context(server.client())
        url, application = stack.enter_context(supabase_process(client.rpush, keys=chosen))
        yield Deployment(
            folder=folder, redis=server, application=application, supabase_url=url, keys=chosen
        )
