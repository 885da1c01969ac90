"""A pod in a process of its own, started by its command: for demos, benches and tests."""

import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

KEY_FILE = "admin.key"
LAST_LINES = 15


class PodProcess:
    """`ourvidz-worker up` on free ports; a context that stops it at the end.

    `arguments` are further options of `up`; `environment` replaces the inherited one. What the
    pod logs goes to `log`.
    """

    def __init__(
        self,
        state: Path,
        *,
        log: Path,
        arguments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        patience_s: float = 60.0,
    ) -> None:
        """Nothing runs yet; `patience_s` is how long a stop may take before the pod is killed."""
        self.state = state
        self.log = log
        self.port, self.chat_port = free_ports(2)
        self._arguments = arguments
        self._environment = environment
        self._patience_s = patience_s
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "ourvidz_worker", "up"]
        command += ["--state-dir", str(self.state)]
        command += ["--port", str(self.port), "--chat-port", str(self.chat_port), *self._arguments]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=self._environment, start_new_session=True
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where images and videos are asked for; every route is served there."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process, once it has been started."""
        return self._started().pid

    def key(self) -> str:
        """The key the pod made at its first start; empty until it has."""
        file = self.state / KEY_FILE
        return file.read_text(encoding="ascii").strip() if file.exists() else ""

    def is_alive(self) -> bool:
        """True until the process has ended."""
        return self._started().poll() is None

    def stop(self) -> int:
        """Let it drain and end, by force if that takes too long; return its exit code."""
        process = self._started()
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            return process.wait(self._patience_s)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def last_words(self) -> str:
        """The end of what it logged."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LAST_LINES:])

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise RuntimeError("the pod has not been started")
        return self._process


def free_ports(count: int) -> list[int]:
    """Different ports of the loopback address that nobody listens on now."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
