"""What a pod tells of the last three phases of its start, a line each on standard output (O-7).

Logs go to standard error as JSON; these lines are for whoever watches the start.
"""

import asyncio
import sys
from collections.abc import Callable, Collection
from typing import Protocol

from ourvidz_worker.config import Config, is_deployed
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
    registration: str,
    health: Callable[[], str],
    tell: Callable[[str], None] = say,
) -> None:
    """Tell the launch once every worker's first start has ended, then the other two phases.

    `registration` and `health` are what `registration_of` and `health_of` say; how each
    registration goes, and every change of health, is in the log.
    """
    await asyncio.gather(*(worker.started.wait() for worker in workers))
    states = ", ".join(f"{worker.lane} {worker.state}" for worker in workers)
    tell(phase_line(Phase.LAUNCH, states))
    tell(phase_line(Phase.REGISTRATION, registration))
    tell(phase_line(Phase.HEALTH, health()))


def registration_of(config: Config, *, wan: str, chat: str) -> str:
    """What is told to the application, and looked at every minute: each side's public address.

    An empty address is one that is not announced.
    """
    sides = {"images and video": wan, "chat": chat}
    told = [f"{side} at {address}" for side, address in sides.items() if address]
    if told:
        return f"on, {', '.join(told)}"
    why = "no public address is to be told" if is_deployed(config) else "there is no application"
    return f"off, {why}"


def health_of(config: Config, status: str) -> str:
    """How the pod is, and where that is asked."""
    ports = (config.worker_port, config.chat_worker_port)
    asked = " and ".join(f"http://{config.bind_host}:{port}/health" for port in ports)
    return f"{status}, {asked}"
