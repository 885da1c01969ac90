"""Rows: what the application's own database says of a job (contract 7.5, K-13)."""

from enum import StrEnum
from typing import Protocol


class RowState(StrEnum):
    """How a job's row stands; `UNKNOWN` when nobody could be asked, which never stops a job."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    MISSING = "missing"
    UNKNOWN = "unknown"


class Rows(Protocol):
    """The port to the application's rows; nothing here raises for a database that is away."""

    async def state(self, job_id: str) -> RowState:
        """How the job's row stands now.

        `MISSING` only after the key has proved that it may read at all (K-20).
        """
        ...

    async def repair_prompt(self, job_id: str) -> str | None:
        """Give a row without an original prompt one, so that its assets are shown (K-13).

        Returns the warning to record (the repair, or its failure), None where none was needed.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
