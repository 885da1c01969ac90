"""No application to tell."""

from collections.abc import Callable

from ourvidz_worker.announcer.base import PodView
from ourvidz_worker.clock import Clock


class NoAnnouncer:
    """`Announcer` where nobody is told."""

    def __init__(
        self, settings: object, pod: PodView, clock: Clock, jitter: Callable[[], float]
    ) -> None:
        """Nothing is needed."""

    async def run(self) -> None:
        """There is nothing to do."""

    async def close(self) -> None:
        """Nothing is open."""
