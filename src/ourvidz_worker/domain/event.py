"""Events: what happened to a job, in order, for whoever watches it."""

from enum import StrEnum

import msgspec


class EventKind(StrEnum):
    """The kinds of event a watcher of a job can see."""

    ACCEPTED = "accepted"
    STARTED = "started"
    PROGRESS = "progress"
    PREVIEW = "preview"
    TOKEN = "token"  # noqa: S105 - a piece of text, not a secret
    RETRIED = "retried"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


LAST_EVENTS = frozenset({EventKind.COMPLETED, EventKind.FAILED, EventKind.CANCELLED})


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """One event; `seq` grows within a job, `at` is wall-clock seconds, `data` is flat JSON."""

    job_id: str
    seq: int
    kind: EventKind
    at: float
    data: dict[str, str | int | float | bool | None] = {}
