"""A whole pod in the test's own process, with a door before each of its text engines.

Every part is the real one, built by wiring: both ports' applications, queue, dispatcher, admission,
enhancement, supervisors and pipes. Only the workers' processes are threads here, so that the test
can read what they give to their text engines.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryDirectory
from threading import Thread
from types import MappingProxyType
from typing import Any

import httpx
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from ourvidz_worker.api.call import Side
from ourvidz_worker.clock import SystemClock
from ourvidz_worker.config import read_config
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import Description
from ourvidz_worker.engines import (
    Engine,
    EngineSettings,
    TextEngine,
    TextSettings,
    make_engine,
    make_text_engine,
)
from ourvidz_worker.engines.chat import TextChat
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.pod.pipe import WorkerPipe
from ourvidz_worker.pod.process import WorkerProcess
from ourvidz_worker.testing.desks import client_of
from ourvidz_worker.testing.door import Door, Given
from ourvidz_worker.wiring import parts as wiring
from ourvidz_worker.wiring.incarnations import Incarnations
from ourvidz_worker.worker.main import Event, Worker
from ourvidz_worker.worker.pipe import PodLost, PodPipe
from ourvidz_worker.worker.threads import real_threads

Clients = Mapping[Side, httpx.AsyncClient]
"""A client of each port."""

KEY = "the-key-of-the-pod"
START_S = 60.0
NONE: Mapping[str, str] = MappingProxyType({})
MOST_TOKENS = 3
"""Texts end here, whatever is asked: what they say is of no interest."""


class OpenPod:
    """Calls of a running pod, and what its text engines were given for them."""

    def __init__(self, portal: BlockingPortal, clients: "Clients", doors: "Doors") -> None:
        self._portal = portal
        self._clients = clients
        self._doors = doors
        self._numbers = count(1)

    def call(
        self, path: str, body: Mapping[str, Any], *, status: int = 200, side: Side = "chat"
    ) -> httpx.Response:
        """The reply to a call with a key; from any thread."""
        client = self._clients[side]
        reply = self._portal.call(lambda: client.post(path, json=dict(body)))
        assert reply.status_code == status, reply.text
        return reply

    def work(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Hand in a job and wait until it has ended; the view of it."""
        name = f"job-{next(self._numbers)}"
        self.call("/v1/jobs", {"id": name, "user_id": "u", **job}, status=202)
        for path in (f"/v1/jobs/{name}/events", f"/v1/jobs/{name}"):
            reply = self._portal.call(self._clients["chat"].get, path)
            assert reply.status_code == 200, reply.text
        view: dict[str, Any] = reply.json()
        return view

    def passed(self) -> list[tuple[str, Given]]:
        """Which model was given what since the last call, and is then forgotten."""
        return [
            (name, each) for name, door in self._doors.by_name.items() for each in door.passed()
        ]


class Doors:
    """Starts workers as threads; the chat worker's text engines have doors before them."""

    def __init__(self, most_tokens: int | None) -> None:
        self.by_name: dict[str, Door] = {}
        self._most_tokens = most_tokens

    def start(self, settings: Incarnations, lane: Lane, pipe: WorkerPipe) -> "LoopProcess":
        """Start the lane's worker at the other end of the pipe."""
        name, given = settings.engines[lane]
        inbox: SimpleQueue[Event] = SimpleQueue()
        process = LoopProcess(inbox)
        process.begin(lambda: self._engine(name, given), pipe.address)
        return process

    def _engine(self, name: str, settings: EngineSettings) -> Engine[Any]:
        if name == "chat_transformers":
            return TextChat(settings, "transformers", self._door)
        return make_engine(name, settings)

    def _door(self, kind: str, settings: TextSettings) -> TextEngine:
        door = Door(make_text_engine(kind, settings), most_tokens=self._most_tokens)
        self.by_name[settings.model.name] = door
        return door


class LoopProcess(WorkerProcess):
    """A worker's main loop on a thread, in the place of a process of its own."""

    def __init__(self, inbox: SimpleQueue[Event]) -> None:
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()

    @property
    def pid(self) -> int:
        return os.getpid()

    async def wait(self) -> int:
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        self._inbox.put(PodLost(reason="killed"))

    def begin(self, make: Any, address: str) -> None:  # noqa: ANN401 - makes any engine
        """Begin."""
        Thread(target=self._serve, args=(make, address), name="worker").start()

    def _serve(self, make: Any, address: str) -> None:  # noqa: ANN401 - makes any engine
        pipe = PodPipe(address, self._inbox.put)
        threads = real_threads()
        worker = Worker(
            make,
            Description(engine="", model="", device=""),
            send=pipe.send,
            inbox=self._inbox,
            clock=SystemClock(),
            threads=threads,
        )
        pipe.start()
        code = worker.serve()
        pipe.close()
        self._loop.call_soon_threadsafe(self._ended.set_result, code)


@contextmanager
def open_pod(
    folder: Path,
    instruct: Path,
    base: Path,
    *,
    most_tokens: int | None = MOST_TOKENS,
    settings: Mapping[str, str] = NONE,
) -> Iterator[OpenPod]:
    """A pod that serves chat with these models, and clips that nobody looks at.

    Texts have at most so many tokens, None: as many as are asked for.
    """
    doors = Doors(most_tokens)
    environment = {
        "STATE_DIR": str(folder),
        "OURVIDZ_LANES": "chat,video",
        "OURVIDZ_VIDEO_ENGINE": "fake",
        "OURVIDZ_CHAT_ENGINE": "chat_transformers",
        "OURVIDZ_DEVICE": "cpu",
        "WAN_WORKER_API_KEY": KEY,
        "QWEN_INSTRUCT_PATH": str(instruct),
        "QWEN_BASE_PATH": str(base),
        **settings,
    }
    with start_blocking_portal("asyncio") as portal:
        running = portal.wrap_async_context_manager(_running(environment, doors))
        with running as clients:
            yield OpenPod(portal, clients, doors)


@asynccontextmanager
async def _running(environment: Mapping[str, str], doors: Doors) -> AsyncIterator[Clients]:
    class Here(Incarnations):
        """Starts workers in this process."""

        async def start(self, lane: Lane) -> WorkerLink:
            pipe = WorkerPipe(self.context, f"ipc://{self.sockets}/{lane}-{next(self._numbers)}")
            return WorkerLink(doors.start(self, lane, pipe), pipe, self.clock)

    with TemporaryDirectory(prefix="ourvidz-") as sockets, pytest.MonkeyPatch.context() as patch:
        patch.setattr(wiring, "Incarnations", Here)
        parts = await wiring.build_parts(read_config(environment), Path(sockets))
        crew = asyncio.create_task(parts.crew.run())
        works = [asyncio.create_task(work) for work in parts.works()]
        try:
            for worker in parts.workers.values():
                assert await worker.is_up_within(START_S)
            async with (
                client_of(parts.wan_app, key=KEY) as wan,  # type: ignore[arg-type]
                client_of(parts.chat_app, key=KEY) as chat,  # type: ignore[arg-type]
            ):
                yield {"wan": wan, "chat": chat}
        finally:
            await parts.crew.stop(grace_s=10.0)
            await crew
            for task in works:
                task.cancel()
            await asyncio.gather(*works, return_exceptions=True)
            await parts.close()
