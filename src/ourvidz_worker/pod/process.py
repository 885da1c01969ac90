"""One operating-system process of a worker, in a group of its own that dies as a whole."""

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path


class WorkerProcess:
    """A started worker process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Wrap a process that leads its own session."""
        self._process = process

    @classmethod
    async def start(
        cls, argv: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> "WorkerProcess":
        """Start `argv` as the leader of a new session; its output is appended to `log`."""
        with log.open("ab") as output:
            process = await asyncio.create_subprocess_exec(
                *argv,
                env=dict(environment),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        """The process id, and the id of its group."""
        return self._process.pid

    async def wait(self) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        return await self._process.wait()

    def kill(self) -> None:
        """End the whole group at once; a group that has ended is no error."""
        try:
            os.killpg(self._process.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
