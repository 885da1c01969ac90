"""The doorway: what a port answers before the pod behind it stands (H-12).

A pod that waits for its queue listens already: `/health` says that it starts, and why it waits;
everything else is told to come back.
"""

from collections.abc import Callable

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ourvidz_worker.api.border import REQUEST_ID, Border
from ourvidz_worker.api.call import Side
from ourvidz_worker.api.routes.legacy import MODELS_LOADED
from ourvidz_worker.api.routes.ops import CAPABILITIES, QUEUES, HealthReply, QueueView
from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import Unavailable
from ourvidz_worker.domain.times import rfc3339

HEALTH = "/health"
READING = frozenset({"GET", "HEAD"})
STARTING = "The worker is starting; try again after a short wait."


class Doorway:
    """The application of one port: its own until `open`, then the pod's."""

    def __init__(
        self, side: Side, version: str, clock: Clock, *, problems: Callable[[], tuple[str, ...]]
    ) -> None:
        """`problems` says in words what the pod waits for."""
        self._side = side
        self._version = version
        self._clock = clock
        self._problems = problems
        self._begun = clock.monotonic()
        self._app: ASGIApp = Border(self._wait)

    def open(self, app: ASGIApp) -> None:
        """The pod stands: `app` answers from now on."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._app(scope, receive, send)

    async def _wait(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        if scope["path"] != HEALTH or scope["method"] not in READING:
            raise Unavailable(STARTING)
        body = msgspec.to_builtins(self._health()) | {"request_id": scope[REQUEST_ID]}
        headers = {"Cache-Control": "no-store"}
        reply = Response(msgspec.json.encode(body), 200, headers, "application/json")
        await reply(scope, receive, send)

    def _health(self) -> HealthReply:
        return HealthReply(
            status="starting",
            worker_type=self._side,
            ready=False,
            model_loaded=False,
            endpoints=(HEALTH,),
            capabilities=CAPABILITIES,
            queue={name: QueueView(waiting=0, in_progress=0) for name in QUEUES},
            models_loaded=MODELS_LOADED,
            draining=False,
            uptime=round(self._clock.monotonic() - self._begun, 3),
            stats={},
            problems=self._problems(),
            timestamp=rfc3339(self._clock.now()),
            version=self._version,
        )
