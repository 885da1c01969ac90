"""A device that exists in the configuration alone, so that every policy runs without a card."""

from collections.abc import Callable

from ourvidz_worker.residency.meter import Reading


class SimulatedMeter:
    """A card of a set size whose use is what its workers count for."""

    has_device = True

    def __init__(self, total_bytes: int, used: Callable[[], int]) -> None:
        """`used` tells what is taken now, bytes; more than there is counts as all of it."""
        self._total = total_bytes
        self._used = used

    async def read(self) -> Reading | None:
        """The device now."""
        free = max(0, self._total - self._used())
        return Reading(total_bytes=self._total, free_bytes=free)

    async def describe(self) -> dict[str, str | int]:
        """Its name."""
        return {"device": "simulated"}
