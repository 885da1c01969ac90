"""When the fake engine's work begins, written down for the benches: one line for each try."""

import os

from ourvidz_worker.clock import Clock, SystemClock


class Witness:
    """Appends the wall-clock time to a file, each by one write, so that processes may share it."""

    def __init__(self, path: str, clock: Clock | None = None) -> None:
        """An empty `path` means that nothing is written."""
        self._path = path
        self._clock = clock or SystemClock()

    def note(self) -> None:
        """Work begins now."""
        if not self._path:
            return
        line = f"{self._clock.now():.6f}\n".encode("ascii")
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, line)
        finally:
            os.close(file)
