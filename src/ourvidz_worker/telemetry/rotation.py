"""Rotation of log files that a live process appends to: copied, then emptied, never moved (O-8).

A worker holds its log file open for its whole life. Moving the file would leave it writing to the
moved one; emptying it does not, because it was opened for appending. A line written between the
copy and the emptying is lost: that is the price.
"""

import os
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

MAX_BYTES = 16 * 1024 * 1024
KEPT = 3
"""Older files beside the live one."""

LOOK_EVERY_S = 30.0


@dataclass(frozen=True, kw_only=True)
class LogRotation:
    """Keeps every `*.log` of one folder short."""

    folder: Path
    sleep: Callable[[float], Awaitable[None]]
    max_bytes: int = MAX_BYTES
    kept: int = KEPT

    async def run(self) -> None:
        """Look at the files until cancelled."""
        while True:
            self.rotate()
            await self.sleep(LOOK_EVERY_S)

    def rotate(self) -> None:
        """Rotate each file that has grown too long; one that cannot be is left as it is."""
        for file in sorted(self.folder.glob("*.log")):
            try:
                if file.stat().st_size > self.max_bytes:
                    self._rotate(file)
            except OSError:
                continue

    def _rotate(self, file: Path) -> None:
        names = [file.with_name(f"{file.name}.{number}") for number in range(1, self.kept + 1)]
        for younger, older in zip(reversed(names[:-1]), reversed(names[1:]), strict=True):
            if younger.exists():
                younger.replace(older)
        shutil.copyfile(file, names[0])
        os.truncate(file, 0)
