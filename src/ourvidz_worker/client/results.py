"""What the pod answers, typed: jobs, assets, events, replies. Unknown fields are passed over."""

from pathlib import Path
from typing import Any, Literal

import msgspec

FINAL = frozenset({"completed", "failed", "cancelled"})
"""The states a job never leaves; also the kinds of its last event."""


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The pod has taken a job; from now on it survives a crash."""

    job_id: str
    status: str


class AssetView(msgspec.Struct, frozen=True, kw_only=True):
    """One result of a job: a picture, a clip or a text.

    `url` is its storage key, `href` where this pod serves it; both are absent for a text.
    `metadata` holds what was measured on the file (width, height, seed, ...).
    """

    index: int
    type: str
    url: str | None = None
    thumbnail_url: str | None = None
    href: str | None = None
    thumbnail_href: str | None = None
    text: str | None = None
    metadata: dict[str, Any] = {}


class JobFault(msgspec.Struct, frozen=True, kw_only=True):
    """Why a job failed, in the contract's codes."""

    code: str
    message: str
    retryable: bool = False


class JobView(msgspec.Struct, frozen=True, kw_only=True):
    """All that the pod tells of one job; times are RFC 3339 UTC."""

    job_id: str
    type: str
    status: str
    lane: str = ""
    user_id: str = ""
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    attempts: int = 0
    assets: tuple[AssetView, ...] = ()
    metadata: dict[str, Any] = {}
    error: JobFault | None = None

    @property
    def is_final(self) -> bool:
        """True when the job will not change any more."""
        return self.status in FINAL


class JobList(msgspec.Struct, frozen=True, kw_only=True):
    """Jobs, the newest first."""

    jobs: tuple[JobView, ...]


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far an attempt is: `step` of `steps` in `stage`; `fraction` of the whole, 0..1."""

    stage: str = ""
    step: int = 0
    steps: int = 0
    fraction: float = 0.0
    eta_s: float | None = None


class JobEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to a job; `seq` grows within the job."""

    job_id: str
    seq: int
    kind: str
    data: dict[str, Any] = {}

    @property
    def is_last(self) -> bool:
        """True when nothing follows."""
        return self.kind in FINAL

    def progress(self) -> Progress:
        """The event's data read as progress; zeros where it says nothing."""
        return msgspec.convert(self.data, Progress, strict=False)


class ReferenceKept(msgspec.Struct, frozen=True, kw_only=True):
    """A picture was stored; a job of the same user may name it by `reference`."""

    reference: str


class ModelUsed(msgspec.Struct, frozen=True, kw_only=True):
    """Which model wrote a text, and with which parameters."""

    model_name: str = ""
    active_model_type: str = ""
    parameters: dict[str, Any] = {}


class ChatReply(msgspec.Struct, frozen=True, kw_only=True):
    """One generated text; `generation_time` in seconds."""

    response: str
    tokens_generated: int = 0
    prompt_tokens: int = 0
    finish_reason: str = ""
    generation_time: float = 0.0
    request_id: str | None = None
    model_info: ModelUsed = ModelUsed()
    truncated: bool = False
    dropped_messages: int = 0

    @property
    def tokens_per_s(self) -> float:
        """Tokens generated for each second; 0 when no time was told."""
        return self.tokens_generated / self.generation_time if self.generation_time else 0.0


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A job or element that could not be worked; what came in is told by length and SHA-256."""

    id: str
    job_id: str | None = None
    code: str = ""
    reason: str = ""
    attempts: int = 0
    at: str = ""
    size_bytes: int = 0
    sha256: str = ""


class DeadLetterList(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters, the newest first."""

    letters: tuple[DeadLetter, ...]


class Replayed(msgspec.Struct, frozen=True, kw_only=True):
    """A dead letter waits again; `job_id` is None where it names no job."""

    id: str
    job_id: str | None = None


class DeadCallback(msgspec.Struct, frozen=True, kw_only=True):
    """A callback that was given up; its body is told by length and SHA-256."""

    id: int
    job_id: str
    status: str
    reason: str = ""
    attempts: int = 0
    created_at: str = ""
    at: str = ""
    size_bytes: int = 0
    sha256: str = ""


class DeadCallbackList(msgspec.Struct, frozen=True, kw_only=True):
    """Dead callbacks, the newest first."""

    callbacks: tuple[DeadCallback, ...]


class ModelsMoved(msgspec.Struct, frozen=True, kw_only=True):
    """What was loaded or unloaded, and which models can serve now."""

    message: str
    models_loaded: dict[str, Any] = {}


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """What `/health` tells; `ready` and `model_loaded` are those of the port asked."""

    status: str
    ready: bool = False
    model_loaded: bool = False
    draining: bool = False
    version: str = ""
    uptime: float = 0.0
    queue: dict[str, dict[str, int]] = {}
    models_loaded: dict[str, Any] = {}
    stats: dict[str, Any] = {}


class SavedFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file that was downloaded."""

    index: int
    part: Literal["main", "thumbnail", "text"]
    path: Path
    size_bytes: int
