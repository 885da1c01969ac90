"""A tiny pod for tests: it binds a socket, starts one real worker process, and speaks with it."""

import os
import select
import subprocess
import sys
from collections import deque
from pathlib import Path
from typing import TypeVar

import msgspec
import zmq

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.messages import Command, Failed, Finished, Outcome, Report, Stopped
from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.wiring.worker_spec import WorkerSpec, write_spec

WAIT_S = 30.0
DECODER: msgspec.json.Decoder[Report] = msgspec.json.Decoder(Report)
Kind = TypeVar("Kind", bound=Report)


class PodEnd:
    """One worker process with the fake engine, and the pod's end of its pipe."""

    def __init__(
        self,
        folder: Path,
        *,
        options: dict[str, str | int | float | bool] | None = None,
        parent_pid: int | None = None,
    ) -> None:
        """Start the worker; `folder` holds its socket and its log."""
        self.seen: list[Report] = []
        self._told: deque[Report] = deque()
        self.log = folder / "worker.log"
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.PAIR)
        self.socket.setsockopt(zmq.LINGER, 0)
        spec = WorkerSpec(
            lane=Lane.IMAGE,
            address=f"ipc://{folder}/pipe",
            engine="fake",
            settings=EngineSettings(options=options or {}),
            parent_pid=os.getpid() if parent_pid is None else parent_pid,
            drain_s=WAIT_S,
        )
        self.socket.bind(spec.address)
        self.argument = write_spec(spec)
        self.process = start_process([self.argument], self.log)

    def send(self, command: Command) -> None:
        """One command down."""
        self.socket.send(msgspec.json.encode(command))

    def next_report(self, timeout_s: float = WAIT_S) -> Report:
        """One report; fails when none comes in time."""
        if not self._told:
            assert self.socket.poll(int(timeout_s * 1000)), f"nothing came: {self.log.read_text()}"
            self._told.extend(DECODER.decode_lines(self.socket.recv()))
        report = self._told.popleft()
        self.seen.append(report)
        return report

    def expect(self, kind: type[Kind], timeout_s: float = WAIT_S) -> Kind:
        """The next report of one kind; the others are kept in `seen`."""
        while True:
            report = self.next_report(timeout_s)
            if isinstance(report, kind):
                return report

    def outcome(self, timeout_s: float = WAIT_S) -> Outcome:
        """The next outcome of an attempt."""
        while True:
            report = self.next_report(timeout_s)
            if isinstance(report, Finished | Failed | Stopped):
                return report

    def exit_code(self) -> int:
        """Wait for the worker's end."""
        return self.process.wait(WAIT_S)

    def leave(self) -> None:
        """Close the pipe, as a pod that ends does."""
        self.socket.close()
        self.context.term()

    def end(self) -> None:
        """Leave nothing behind."""
        self.process.kill()
        self.process.wait(WAIT_S)
        self.leave()


def start_process(arguments: list[str], log: Path) -> "subprocess.Popen[bytes]":
    """Start the worker's module in a session of its own, as the pod does."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "ourvidz_worker.wiring.worker", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def wait_for_end(pid: int) -> bool:
    """True when the process, which need not be ours, ends within the time."""
    try:
        watch = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        ended, _, _ = select.select([watch], [], [], WAIT_S)
        return bool(ended)
    finally:
        os.close(watch)
