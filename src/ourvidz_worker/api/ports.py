"""What the HTTP interface needs of the pod; wiring passes in objects that have it."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ourvidz_worker.domain.event import JobEvent
from ourvidz_worker.domain.health import HealthStatus, HealthView
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import MemoryReport, MemoryStatus, OperationReply, Order
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.domain.text_reply import TextPart, TextReply
from ourvidz_worker.queue import CancelOutcome, DeadCallback, DeadLetter, JobRecord

__all__ = [
    "DeadDesk",
    "Desks",
    "HealthStatus",
    "HealthView",
    "JobDesk",
    "MemoryDesk",
    "PodView",
    "TextDesk",
    "TextPart",
    "TextReply",
]


class JobDesk(Protocol):
    """Accepts jobs, and tells of them."""

    async def submit(self, payload: bytes, *, job_id: str | None = None) -> tuple[JobRecord, bool]:
        """Decode, admit and store one job object (UTF-8 JSON); True when it is new.

        `job_id` names the job where the object does not (PUT); another id in the object raises
        `RequestError`. Also raises `InvalidPrompt`, `Refused`, `Conflict`, `QueueUnavailable`.
        """
        ...

    async def find(self, job_id: str) -> JobRecord:
        """One job. Raises `NotFound`."""
        ...

    async def recent(
        self, *, status: Status | None, user_id: str | None, limit: int
    ) -> list[JobRecord]:
        """The newest jobs first."""
        ...

    async def cancel(self, job_id: str) -> CancelOutcome:
        """Cancel a job. Raises `NotFound`."""
        ...

    def watch(self, job_id: str, *, after: int = 0) -> AsyncIterator[JobEvent]:
        """The job's kept events above `after`, then live ones; ends after the last event."""
        ...

    async def asset(self, job_id: str, index: int, *, thumbnail: bool) -> tuple[bytes, str]:
        """One stored file and its media type. Raises `NotFound`."""
        ...

    async def preview(self, job_id: str) -> bytes:
        """The newest preview (WEBP) of a running job. Raises `NotFound`."""
        ...

    async def keep_reference(self, user_id: str, picture: bytes) -> str:
        """Check and store a reference picture; return the key a job may name."""
        ...


class TextDesk(Protocol):
    """Generates text while the caller waits."""

    def stream(self, request: ChatRequest) -> AsyncIterator[TextPart | TextReply]:
        """The text part by part as it comes, then one `TextReply`.

        Closing the iterator cancels the work. Raises `InvalidPrompt`, `Refused`, `Unavailable`,
        `DeadlinePassed` and other `AttemptError`s.
        """
        ...


class MemoryDesk(Protocol):
    """Tells of the device's memory, and moves what is in it."""

    def memory_status(self, side: Literal["wan", "chat"]) -> MemoryStatus:
        """How the memory is used, as that port shows it. Raises `Unavailable` without a device."""
        ...

    def memory_report(self) -> MemoryReport:
        """Every worker's memory, recommendations, predictions and the last moves."""
        ...

    async def load(self, lanes: Sequence[Lane], *, force: bool = False) -> tuple[Lane, ...]:
        """Load these workers, of several as many as fit; those that are up in the end.

        Raises `OutOfMemory`, `ModelLoadFailed`.
        """
        ...

    async def unload(self, lanes: Sequence[Lane], *, force: bool = False) -> None:
        """Send these workers away. Raises `Conflict` while one is in use."""
        ...

    async def operate(self, order: Order) -> OperationReply:
        """Carry out one operation. Raises `OutOfMemory` when its aim is not reached."""
        ...


class DeadDesk(Protocol):
    """Tells of what was given up, and lets it be tried again."""

    async def letters(self, limit: int) -> list[DeadLetter]:
        """The newest dead letters first."""
        ...

    async def replay(self, letter_id: str) -> str | None:
        """Let a dead letter be worked anew; its job's id. Raises `NotFound`, `Conflict`."""
        ...

    async def callbacks(self, limit: int) -> list[DeadCallback]:
        """The newest dead callbacks of this pod first."""
        ...

    async def revive(self, callback_id: int) -> None:
        """Send a dead callback again from now on. Raises `NotFound`, `Conflict`."""
        ...


class PodView(Protocol):
    """What the pod says of itself."""

    def health(self, side: Literal["wan", "chat"]) -> HealthView:
        """The snapshot, with readiness and `model_loaded` judged for that port's default model."""
        ...

    def limits(self) -> dict[str, int | float]:
        """The limits a caller may run into, for `/worker/info`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Desks:
    """Everything of the pod that the interface asks."""

    jobs: JobDesk
    texts: TextDesk
    memory: MemoryDesk
    dead: DeadDesk
    pod: PodView
