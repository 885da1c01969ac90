"""Real processes: a pod started by its command, and a receiver of its callbacks."""

import json
import signal
import subprocess
import sys
from collections import defaultdict
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from socket import socket
from threading import Thread
from typing import IO, Any

import psutil

from ourvidz_worker.client import Client

START_TIMEOUT_S = 60.0
END_TIMEOUT_S = 60.0

FAKE = {f"OURVIDZ_{lane}_ENGINE": "fake" for lane in ("IMAGE", "CHAT", "VIDEO")}


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Pod:
    """A pod in a process of its own; the state folder outlives it."""

    def __init__(self, state: Path, **settings: str) -> None:
        """`settings` are environment variables of the pod."""
        self.state = state
        self.port, self.chat_port = free_port(), free_port()
        self._settings = settings
        self._process: subprocess.Popen[str] | None = None
        self._lines: Queue[str] = Queue()
        self.records: list[dict[str, Any]] = []

    def start(self, *, ready: int = 3) -> None:
        """Start the process and read its log until `ready` workers can serve."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "HOME": str(self.state.parent),
            "STATE_DIR": str(self.state),
            "WORKER_PORT": str(self.port),
            "CHAT_WORKER_PORT": str(self.chat_port),
            **self._settings,
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ourvidz_worker", "up"],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._lines = Queue()
        Thread(target=_pass_on, args=(self._process.stderr, self._lines), daemon=True).start()
        self.wait_for("worker_ready", times=ready)

    @property
    def process(self) -> "subprocess.Popen[str]":
        """The running process."""
        assert self._process is not None
        return self._process

    def wait_for(self, action: str, *, times: int = 1) -> None:
        """Read the log until `action` was seen `times` more often."""
        while times:
            line = self._lines.get(timeout=START_TIMEOUT_S)
            assert line, f"the pod ended before {action}: {self.records[-5:]}"
            if line.startswith("{"):
                self.records.append(json.loads(line))
                times -= self.records[-1].get("action") == action

    def client(self) -> Client:
        """A client with the pod's own key."""
        key = (self.state / "admin.key").read_text().strip()
        return Client(url=f"http://127.0.0.1:{self.port}", key=key)

    def worker(self, lane: str) -> psutil.Process:
        """The live worker process of a lane."""
        found = [
            child for child in self.family() if f'"lane":"{lane}"' in " ".join(child.cmdline())
        ]
        assert len(found) == 1
        return found[0]

    def family(self) -> list[psutil.Process]:
        """Every live process below the pod."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def kill(self) -> list[psutil.Process]:
        """SIGKILL the pod alone; return the processes that it had, once they have ended."""
        family = self.family()
        self.process.kill()
        self.process.wait(END_TIMEOUT_S)
        _, alive = psutil.wait_procs(family, timeout=10)
        return alive

    def terminate(self) -> int:
        """SIGTERM, and the exit code."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(END_TIMEOUT_S)
        return self.process.returncode

    def close(self) -> None:
        """End whatever is left of it."""
        if self._process is not None and self._process.poll() is None:
            family = self.family()
            self._process.kill()
            self._process.wait(END_TIMEOUT_S)
            psutil.wait_procs(family, timeout=10)


def _pass_on(stream: IO[str], lines: "Queue[str]") -> None:
    """Every line of the pod's log, then one empty one when it has ended."""
    with stream:
        for line in stream:
            lines.put(line)
    lines.put("")


class Sink:
    """Receives callbacks; each is a body and its headers."""

    def __init__(self) -> None:
        """Listen on a free port of the loopback address."""
        self.received: Queue[tuple[dict[str, Any], dict[str, str], bytes]] = Queue()
        self._told: defaultdict[str, list[str]] = defaultdict(list)
        received = self.received

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                received.put((json.loads(body), dict(self.headers.items()), body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"

    def statuses(self, job_id: str, *, until: str = "completed") -> list[str]:
        """The statuses told of a job, in order, once `until` has come."""
        while until not in self._told[job_id]:
            body, _, _ = self.received.get(timeout=60)
            self._told[body["job_id"]].append(body["status"])
        return self._told[job_id]

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
