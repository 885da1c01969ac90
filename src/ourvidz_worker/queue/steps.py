"""Steps: the scripts, run on a server for one pod, by the server's clock."""

from collections.abc import Mapping
from typing import Any

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.queue.scripts import load_scripts
from ourvidz_worker.queue.wire import Argument, Wire, to_bytes

READS = frozenset(
    {"look", "find", "recent", "events", "dead", "check", "owed", "seek", "leftovers"}
)
"""The scripts that change nothing that `look` tells of."""


class Steps:
    """Runs a script by its name; each gets the time, where a test owns it, and the pod first.

    After a step without an answer `unsure` is set: it may have been done. Whoever has looked what
    is so clears it. `writes` grows whenever a step that changes something begins or ends.
    """

    def __init__(self, wire: Wire, clock: Clock, *, server_time: bool) -> None:
        """Read the scripts; nothing is connected before `open`."""
        self.pod = ""
        self.unsure = False
        self.writes = 0
        self._wire = wire
        self._clock = clock
        self._server_time = server_time
        self._scripts = load_scripts()
        self._is_open = False

    async def open(self) -> Mapping[str, str]:
        """Connect; what the server says of itself."""
        told = await self._wire.open()
        self._is_open = True
        return told

    async def close(self) -> None:
        """Disconnect."""
        self._is_open = False
        await self._wire.close()

    async def run(self, name: str, *arguments: Argument) -> Any:  # noqa: ANN401
        """Run the script `name`; its reply. Raises `QueueUnavailable`."""
        if not self._is_open:
            raise QueueUnavailable
        given = [self._time(), self.pod, *arguments]
        counts = name not in READS
        self.writes += counts
        try:
            return await self._wire.evaluate(self._scripts[name], list(map(to_bytes, given)))
        except BaseException:
            self.unsure = True
            raise
        finally:
            self.writes += counts

    def _time(self) -> str:
        return "" if self._server_time else str(round(self._clock.monotonic() * 1000))
