"""What a pod tells of the last three phases of its start, a line each on standard output (O-7).

Logs go to standard error as JSON; these lines are for whoever watches the start.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.telemetry.phases import Phase, phase_line


class Starting(Protocol):
    """What is looked at of a worker that starts."""

    @property
    def lane(self) -> Lane:
        """The lane it serves."""
        ...

    @property
    def state(self) -> str:
        """Where it stands, in a word."""
        ...

    @property
    def started(self) -> asyncio.Event:
        """Set once its first start has succeeded or failed."""
        ...


def say(line: str) -> None:
    """Write one line to standard output, at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


async def tell_start(
    workers: Collection[Starting],
    *,
    registration: Callable[[], Awaitable[str]],
    health: Callable[[], str],
    tell: Callable[[str], None] = say,
) -> None:
    """Tell the launch once every worker's first start has ended, then the other two phases.

    `registration` waits for its own first round and says how it went; `health` says what is
    watched and how it stands.
    """
    await asyncio.gather(*(worker.started.wait() for worker in workers))
    states = ", ".join(f"{worker.lane} {worker.state}" for worker in workers)
    tell(phase_line(Phase.LAUNCH, states))
    tell(phase_line(Phase.REGISTRATION, await registration()))
    tell(phase_line(Phase.HEALTH, health()))
