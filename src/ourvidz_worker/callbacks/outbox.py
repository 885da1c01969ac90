"""The outbox as the pump sees it; the queue's store has these verbs, wiring passes it in."""

from typing import Protocol, TypeVar


class OwedCallback(Protocol):
    """One callback owed: the exact bytes, and how often they were tried."""

    @property
    def id(self) -> int:
        """Grows with every row."""
        ...

    @property
    def job_id(self) -> str:
        """The job it tells of."""
        ...

    @property
    def status(self) -> str:
        """`processing`, `completed` or `failed`."""
        ...

    @property
    def body(self) -> bytes:
        """The exact bytes, the same on every try."""
        ...

    @property
    def tries(self) -> int:
        """Tries already made."""
        ...

    @property
    def created_at(self) -> float:
        """Wall clock, seconds since the epoch."""
        ...


Row = TypeVar("Row", bound=OwedCallback)


class Outbox(Protocol[Row]):
    """The durable list of callbacks owed, in order within each job."""

    async def due(self, limit: int) -> list[Row]:
        """Rows whose time has come; at most one for each job, and never past an earlier one."""
        ...

    async def next_due_in(self) -> float | None:
        """Seconds until the next row is due (0 when one is), None when nothing is owed."""
        ...

    async def delivered(self, row: Row) -> None:
        """The caller accepted it: strike it out, durably."""
        ...

    async def postpone(self, row: Row, delay_s: float, error: str) -> None:
        """Count a try and set the next one."""
        ...

    async def give_up(self, row: Row, reason: str) -> None:
        """Move it to the dead callbacks, with its body and the reason."""
        ...
