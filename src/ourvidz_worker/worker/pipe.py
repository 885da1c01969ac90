"""The worker's end of the pipe to its pod: reports up, commands down.

A ZeroMQ PAIR socket connected to the address that the pod has bound; the pod has one such socket
for each worker. A message is UTF-8 JSON, told apart by its member `message`. JSON, not msgpack, in
both directions: a request carries what its caller sent along as raw JSON (`msgspec.Raw`), which
cannot lie inside a msgpack frame. A frame is all that waited, one message a line: many texts at
once report thousands of pieces a second, and a frame costs more than a piece.
"""

import os
from collections import deque
from collections.abc import Callable
from threading import Thread

import msgspec
import zmq
from zmq.utils.monitor import recv_monitor_message

from ourvidz_worker.domain.messages import Command, Report

LAST_WORDS_MS = 2000
"""How long the last reports may take to leave a worker that ends."""

_LOST = zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED
_WAKE_BYTES = 4096


class PodLost(msgspec.Struct, frozen=True, kw_only=True):
    """The pod is gone, or speaks another language; the worker must end."""

    reason: str


def encode_report(report: Report) -> bytes:
    """One report as a line of a frame, without its end."""
    return msgspec.json.encode(report)


_COMMANDS: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def decode_commands(frame: bytes) -> list[Command]:
    """The commands of one frame. Raises `msgspec.DecodeError`, for an empty one too."""
    commands = _COMMANDS.decode_lines(frame)
    if not commands:
        raise msgspec.DecodeError("the frame is empty")
    return commands


class PodPipe:
    """A socket with a thread of its own: `send` from any thread, commands come through `take`."""

    def __init__(self, address: str, take: Callable[[Command | PodLost], None]) -> None:
        """`take` is called in the pipe's thread, with every command and at last with `PodLost`."""
        self._address = address
        self._take = take
        self._outbox: deque[bytes] = deque()
        self._closing = False
        self._woken = False
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_in, False)
        os.set_blocking(self._wake_out, False)
        self._thread = Thread(target=self._serve, name="pipe", daemon=True)

    def start(self) -> None:
        """Connect, and begin to listen."""
        self._thread.start()

    def send(self, report: Report) -> None:
        """Send one report, after those sent before; never waits."""
        self._outbox.append(encode_report(report))
        if not self._woken:  # else the thread has yet to look, and will find this one too
            self._wake()

    def close(self) -> None:
        """Send what is left and end."""
        self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        self._woken = True
        try:
            os.write(self._wake_in, b"!")
        except BlockingIOError:
            return  # full of wakes that nobody has answered yet: one is enough

    def _serve(self) -> None:
        context = zmq.Context()
        socket = context.socket(zmq.PAIR)
        socket.setsockopt(zmq.RECONNECT_IVL, -1)
        socket.setsockopt(zmq.SNDHWM, 0)
        socket.setsockopt(zmq.RCVHWM, 0)
        monitor = socket.get_monitor_socket(_LOST)
        socket.connect(self._address)
        lost = self._exchange(socket, monitor)
        socket.disable_monitor()
        monitor.close()
        socket.close(linger=0 if lost else LAST_WORDS_MS)
        context.term()
        if lost:
            self._take(PodLost(reason=lost))

    def _exchange(self, socket: zmq.Socket[bytes], monitor: zmq.Socket[bytes]) -> str:
        """Carry frames until the pipe closes (``) or is lost (the reason)."""
        poller = zmq.Poller()
        for source in (socket, monitor, self._wake_out):
            poller.register(source, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            try:
                if self._wake_out in ready:
                    self._send_all(socket)
                if socket in ready:
                    self._take_all(socket)
            except zmq.Again:
                return "the pod takes nothing"
            except msgspec.DecodeError as error:
                return f"a frame is no command: {error}"
            if monitor in ready:
                return f"the pod is gone: event {recv_monitor_message(monitor)['event']}"
            if self._closing and not self._outbox:
                return ""

    def _send_all(self, socket: zmq.Socket[bytes]) -> None:
        os.read(self._wake_out, _WAKE_BYTES)
        self._woken = False  # before looking: what is put in from here on wakes anew
        lines = []
        while self._outbox:
            lines.append(self._outbox.popleft())
        if lines:
            socket.send(b"\n".join(lines), zmq.NOBLOCK)

    def _take_all(self, socket: zmq.Socket[bytes]) -> None:
        while socket.poll(0):
            for command in decode_commands(socket.recv(zmq.NOBLOCK)):
                self._take(command)
