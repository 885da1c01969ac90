"""The pod's end of the pipe to one worker: commands down, reports up.

One ZeroMQ PAIR socket for each incarnation of a worker, bound on a Unix socket in a private
folder, so that nothing sent to a dead worker ever reaches its successor. Frames are JSON: a
request carries raw JSON of its caller, which cannot lie inside msgpack.
"""

import asyncio

import msgspec
import zmq
import zmq.asyncio

from ourvidz_worker.domain.errors import WorkerLost
from ourvidz_worker.domain.messages import Command, Report

LAST_WORDS_MS = 100
"""How long the reports of a worker that has just exited may take to come through."""


class WorkerPipe:
    """A bound socket that one worker connects to."""

    def __init__(self, context: zmq.asyncio.Context, address: str) -> None:
        """Bind `address`, such as `ipc:///tmp/x/image-1`."""
        self.address = address
        self._socket: zmq.asyncio.Socket = context.socket(zmq.PAIR)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.bind(address)
        self._decoder = msgspec.json.Decoder(Report)
        self._encoder = msgspec.json.Encoder()

    async def receive(self) -> Report:
        """The worker's next report."""
        report: Report = self._decoder.decode(await self._socket.recv())
        return report

    async def pending(self) -> bool:
        """True when a report lies ready, or comes within a moment."""
        return bool(await self._socket.poll(LAST_WORDS_MS))

    async def send(self, command: Command) -> None:
        """Send one command; waits until the worker is connected.

        Raises `WorkerLost` when the pipe is closed, before or meanwhile.
        """
        try:
            await self._socket.send(self._encoder.encode(command))
        except zmq.ZMQError as error:
            raise WorkerLost from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            raise WorkerLost from None  # closing cancelled the send, nobody the task

    def close(self) -> None:
        """Unbind; what was not sent is dropped."""
        self._socket.close()
