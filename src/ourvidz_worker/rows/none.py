"""No application database: every row is unknown."""

from ourvidz_worker.clock import Clock
from ourvidz_worker.rows.base import RowState


class NoRows:
    """`Rows` where no application is connected."""

    def __init__(self, settings: object, clock: Clock) -> None:
        """Nothing is needed."""

    async def state(self, job_id: str) -> RowState:
        """Nobody can be asked."""
        return RowState.UNKNOWN

    async def repair_prompt(self, job_id: str) -> str | None:
        """There is nothing to repair."""
        return None

    async def close(self) -> None:
        """Nothing is open."""
