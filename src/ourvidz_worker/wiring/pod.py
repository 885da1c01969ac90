"""The pod's process: builds its parts, serves until a signal, and takes them down in order."""

import asyncio
import logging
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import uvicorn
import uvloop
from starlette.types import ASGIApp

from ourvidz_worker import __version__
from ourvidz_worker.api.doorway import Doorway
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.config import Config, warnings_of
from ourvidz_worker.telemetry.log import Action, start_logging
from ourvidz_worker.wiring.application import secrets_of
from ourvidz_worker.wiring.building import Building
from ourvidz_worker.wiring.listening import listen
from ourvidz_worker.wiring.parts import SIDES, Parts
from ourvidz_worker.wiring.phases import health_of, registration_of, tell_start

log = logging.getLogger(__name__)

GRACE_SHARE = 0.8
"""Workers are given this share of the drain's time; the rest stores and settles what they made."""

LAST_CALLBACKS_S = 5.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)

Signals = tuple["asyncio.Task[None]", "asyncio.Task[None]"]
"""Two tasks: one ends with the first signal, the other with the second."""


def serve(config: Config) -> int:
    """Run a pod in the foreground until a signal; the exit code. Raises `ConfigError`."""
    start_logging(secrets=secrets_of(config))
    for warning in warnings_of(config):
        log.warning("setting", extra={"action": Action.SETTING_DOUBTFUL, "warning": warning})
    with (
        TemporaryDirectory(prefix="ourvidz-") as sockets,
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        return runner.run(_serve(config, Path(sockets)))


class _Server(uvicorn.Server):
    """A server that leaves the signals to the pod."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


async def _serve(config: Config, sockets: Path) -> int:
    """Listen first, then build and load: `/health` answers before any model does (H-12)."""
    with ExitStack() as stack:
        ports = (config.worker_port, config.chat_worker_port)
        names = ("WORKER_PORT", "CHAT_WORKER_PORT")
        listeners = [
            stack.enter_context(listen(config.bind_host, port, name))
            for port, name in zip(ports, names, strict=True)
        ]
        signals = _take_signals()
        building = Building(config, sockets, SystemClock())
        doorways = [
            Doorway(side, __version__, SystemClock(), problems=building.problems) for side in SIDES
        ]
        servers = [_Server(_options(doorway)) for doorway in doorways]
        serving = [
            asyncio.create_task(server.serve(sockets=[listener]))
            for server, listener in zip(servers, listeners, strict=True)
        ]
        parts = None
        try:
            parts = await building.done_before(signals[0])
            code = 0 if parts is None else await _open(config, parts, doorways, signals)
        finally:
            for server in servers:
                server.should_exit = True
            await asyncio.gather(*serving)
        if parts is not None:
            await parts.close()
        log.info("pod stopped", extra={"action": Action.POD_STOPPED, "exit_code": code})
    return code


async def _open(config: Config, parts: Parts, doorways: Sequence[Doorway], signals: Signals) -> int:
    """Let the callers in, and work until a signal; the exit code."""
    for doorway, app in zip(doorways, (parts.wan_app, parts.chat_app), strict=True):
        doorway.open(app)
    log.info("pod started", extra={"action": Action.POD_STARTED, "lanes": list(parts.workers)})
    return await _work_until_stopped(config, parts, signals)


def _options(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="httptools",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )


async def _work_until_stopped(config: Config, parts: Parts, signals: Signals) -> int:
    """Run every part until a signal, then drain; a second signal ends at once."""
    stop, hurry = signals
    crew = asyncio.create_task(parts.crew.run())
    working = [asyncio.create_task(work) for work in parts.works()]
    telling = asyncio.create_task(_tell_start(config, parts))
    await _first({stop, *working})
    broken = [task for task in working if task.done()]
    for task in broken:
        log.error("a part ended", exc_info=task.exception(), extra={"action": Action.WATCH_BROKE})
    draining = asyncio.create_task(_drain(config, parts, crew))
    await _first({draining, hurry})
    parts.crew.kill()
    for task in (draining, stop, hurry, crew, telling, *working):
        task.cancel()
    await asyncio.gather(draining, crew, telling, *working, return_exceptions=True)
    return 1 if broken or (hurry.done() and not hurry.cancelled()) else 0


async def _tell_start(config: Config, parts: Parts) -> None:
    """The lines of the last phases (O-7)."""
    addresses = parts.announcing.addresses
    await tell_start(
        parts.workers.values(),
        registration=registration_of(config, wan=addresses.wan, chat=addresses.chat),
        health=lambda: health_of(config, parts.health.health("wan").status),
    )


async def _drain(config: Config, parts: Parts, crew: "asyncio.Task[None]") -> None:
    """Lease no more, finish what fits, give the rest back, tell what is owed (O-6)."""
    log.info("draining", extra={"action": Action.POD_DRAINING, "held": parts.dispatcher.held})
    parts.health.draining = True
    grace = config.drain_timeout_s * GRACE_SHARE
    await asyncio.gather(parts.crew.stop(grace), parts.dispatcher.drain(config.drain_timeout_s))
    await asyncio.wait({crew}, timeout=max(1.0, config.drain_timeout_s - grace))
    await asyncio.wait({asyncio.ensure_future(parts.flush())}, timeout=LAST_CALLBACKS_S)


async def _first(tasks: "set[asyncio.Task[None]]") -> None:
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


def _take_signals() -> Signals:
    """Two tasks: one ends with the first signal, the other with the second."""
    loop = asyncio.get_running_loop()
    events = [asyncio.Event(), asyncio.Event()]

    def take() -> None:
        events[int(events[0].is_set())].set()

    for number in SIGNALS:
        loop.add_signal_handler(number, take)
    first, second = (loop.create_task(_until(event)) for event in events)
    return first, second


async def _until(event: asyncio.Event) -> None:
    await event.wait()
