"""How a worker process is started: its arguments, its environment, and its pipe."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import zmq

from ourvidz_worker.clock import Clock
from ourvidz_worker.config import worker_environment
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.pod.link import WorkerLink
from ourvidz_worker.pod.pipe import WorkerPipe
from ourvidz_worker.pod.process import WorkerProcess
from ourvidz_worker.wiring.worker_spec import WorkerSpec, write_spec


@dataclass(frozen=True, kw_only=True)
class Incarnations:
    """Starts worker processes; `sockets` is a private folder for their pipes."""

    engines: Mapping[Lane, tuple[str, EngineSettings]]
    sockets: Path
    logs: Path
    clock: Clock
    context: zmq.Context[zmq.Socket[bytes]]
    _numbers: "count[int]" = field(default_factory=count)

    async def start(self, lane: Lane) -> WorkerLink:
        """Start a new process for the lane, with a pipe of its own."""
        name, settings = self.engines[lane]
        pipe = WorkerPipe(self.context, f"ipc://{self.sockets}/{lane}-{next(self._numbers)}")
        spec = WorkerSpec(
            lane=lane,
            address=pipe.address,
            engine=name,
            settings=settings,
            parent_pid=os.getpid(),
        )
        argv = [
            sys.executable,
            "-m",
            "ourvidz_worker.wiring.worker",
            write_spec(spec),
        ]
        environment = worker_environment(threads=settings.threads)
        log = self.logs / f"worker-{lane}.log"
        process = await WorkerProcess.start(argv, environment, log)
        return WorkerLink(process, pipe, self.clock)
