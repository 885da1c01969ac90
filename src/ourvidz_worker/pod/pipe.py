"""The pod's end of the pipe to one worker: commands down, reports up.

One ZeroMQ PAIR socket for each incarnation of a worker, bound on a Unix socket in a private
folder, so that nothing sent to a dead worker ever reaches its successor. Frames are JSON: a
request carries raw JSON of its caller, which cannot lie inside msgpack. A frame holds, one a
line, all that waited: reports up, and down the commands of one turn of the loop.
"""

import asyncio
from collections import deque

import msgspec
import zmq

from ourvidz_worker.domain.errors import WorkerLost
from ourvidz_worker.domain.messages import Command, Report

LAST_WORDS_S = 0.1
"""How long the reports of a worker that has just exited may take to come through."""

MOST_FRAMES = 256
"""Frames taken at once; then the loop serves others before it comes back for more."""


class WorkerPipe:
    """A bound socket that one worker connects to; it belongs to the loop that made it.

    The loop watches the socket's descriptor itself: `zmq.asyncio` costs a future and several
    looks at the socket for each frame. The descriptor tells of each change only once (libzmq,
    ZMQ_FD), and whatever is done to the socket may use that up, for the other direction too. So
    reading goes on until there is nothing, and after each step whoever still waits is looked at.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], address: str) -> None:
        """Bind `address`, such as `ipc:///tmp/x/image-1`."""
        self.address = address
        self._socket = context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(address)
        self._descriptor = int(self._socket.get(zmq.FD))
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._descriptor, self._look)
        self._unsent: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        self._will_look = False
        self._listener: asyncio.Future[None] | None = None
        self._decoder: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
        self._encoder = msgspec.json.Encoder()

    async def receive(self) -> list[Report]:
        """Every report that lies ready, in order; waits until there is one."""
        while not (reports := self._take()):
            await self._listen()
        return reports

    async def pending(self) -> bool:
        """True when reports lie ready, or come within a moment."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                while not self._state() & zmq.POLLIN:
                    await self._listen()
        except TimeoutError:
            return False
        return True

    async def send(self, command: Command) -> None:
        """Send one command; waits until the worker is connected.

        Raises `WorkerLost` when the pipe is closed, before or meanwhile.
        """
        if self._socket.closed:
            raise WorkerLost
        sent = self._loop.create_future()
        self._unsent.append((self._encoder.encode(command), sent))
        self._look_soon()
        await sent

    def close(self) -> None:
        """Unbind; what was not sent is dropped."""
        if self._socket.closed:
            return
        self._loop.remove_reader(self._descriptor)
        self._socket.close()
        while self._unsent:
            _, sent = self._unsent.popleft()
            if not sent.done():
                sent.set_exception(WorkerLost())

    def _take(self) -> list[Report]:
        reports: list[Report] = []
        for _ in range(MOST_FRAMES):
            try:
                frame = self._socket.recv(zmq.NOBLOCK)
            except zmq.Again:
                break
            reports += self._decoder.decode_lines(frame)
        self._look_soon()
        return reports

    async def _listen(self) -> None:
        """Return when the socket has reports."""
        self._listener = self._loop.create_future()
        try:
            await self._listener
        finally:
            self._listener = None

    def _look_soon(self) -> None:
        if self._unsent and not self._will_look:
            self._will_look = True
            self._loop.call_soon(self._look)

    def _look(self) -> None:
        """Go on with whoever waits: there are commands, or the socket's state has changed."""
        self._will_look = False
        if self._socket.closed:
            return
        state = self._state()
        if self._unsent and state & zmq.POLLOUT:
            self._send_all()
            state = self._state()
        if self._listener is not None and not self._listener.done() and state & zmq.POLLIN:
            self._listener.set_result(None)

    def _send_all(self) -> None:
        wanted = [(line, sent) for line, sent in self._unsent if not sent.done()]
        self._unsent.clear()
        if wanted:
            self._socket.send(b"\n".join(line for line, _ in wanted), zmq.NOBLOCK)
        for _, sent in wanted:
            sent.set_result(None)

    def _state(self) -> int:
        """What the socket is ready for now; the one call that never looks at old news."""
        return int(self._socket.get(zmq.EVENTS))
