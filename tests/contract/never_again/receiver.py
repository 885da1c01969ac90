"""A receiver of callbacks that can break down: it answers 503, or never."""

import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Lock, Thread
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Post:
    """One callback that came in; headers by lower-case name, `at` in wall-clock seconds."""

    body: bytes
    headers: dict[str, str]
    at: float
    taken: bool


@dataclass
class _Mood:
    status: int = 200
    hangs: bool = False
    lost: int = 0
    calls: list[Post] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)
    woken: Event = field(default_factory=Event)


class Receiver:
    """Listens on a free port of the loopback address; `with` it."""

    def __init__(self) -> None:
        mood = self._mood = _Mood()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with mood.lock:
                    status, hangs = mood.status, mood.hangs
                    taken = mood.lost > 0 or (status < 300 and not hangs)
                    if mood.lost:
                        status, mood.lost = 503, mood.lost - 1
                    now = time.time()  # noqa: TID251 - when it really came
                    mood.calls.append(Post(body=body, headers=headers, at=now, taken=taken))
                if hangs:
                    mood.woken.wait()
                    return
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._mood.woken.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def calls(self) -> list[Post]:
        """All that came in so far."""
        with self._mood.lock:
            return list(self._mood.calls)

    def break_down(self, *, hang: bool) -> None:
        """Answer 503, or never, from now on."""
        with self._mood.lock:
            self._mood.status, self._mood.hangs = 503, hang

    def lose_answers(self, number: int) -> None:
        """Take so many callbacks, and answer as if not."""
        with self._mood.lock:
            self._mood.lost = number

    def mend(self) -> None:
        """Answer 200 from now on."""
        with self._mood.lock:
            self._mood.status, self._mood.hangs, self._mood.lost = 200, False, 0
