"""Every call of the public API, once: how it is asked and how its answer is read. No I/O here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypedDict, TypeVar
from urllib.parse import quote

import msgspec

from ourvidz_worker.client.errors import UnexpectedAnswer, error_of
from ourvidz_worker.client.results import (
    Accepted,
    ChatReply,
    DeadCallbackList,
    DeadLetterList,
    Health,
    JobList,
    JobView,
    ModelsMoved,
    ReferenceKept,
    Replayed,
)
from ourvidz_worker.domain.memory import MemoryReport, MemoryStatus, OperationReply
from ourvidz_worker.domain.receipt import Receipt

Result = TypeVar("Result")
Message = Mapping[str, str]
"""One turn: `{"role": "user", "content": "..."}`."""

_SUCCESS = frozenset(range(200, 300))
_UNWELL = 503

MOVE_PATIENCE_S = 900.0
"""A model's load may take minutes, and an unload waits for its users first."""


class ChatOptions(TypedDict, total=False):
    """How a text is generated; what is left out has the contract's default (2.3)."""

    model: str
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    frequency_penalty: float
    presence_penalty: float
    repetition_penalty: float
    stop: Sequence[str]
    seed: int
    truncate: str


@dataclass(frozen=True, kw_only=True)
class Call(Generic[Result]):
    """One request and the type of its answer; `bytes` means the body as it is.

    `repeatable` calls have the same effect however often they arrive.
    """

    method: str
    path: str
    answer: type[Result]
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    media_type: str | None = None
    good: frozenset[int] = _SUCCESS
    patience_s: float | None = None
    """How long the answer may take; None means as long as the client waits for any."""

    @property
    def repeatable(self) -> bool:
        """True when a call that may or may not have arrived can simply be sent again."""
        return self.method != "POST"

    def headers(self) -> dict[str, str]:
        """The headers this call needs beside the key."""
        return {"Content-Type": self.media_type} if self.media_type else {}

    def read(self, status: int, body: bytes) -> Result:
        """The typed result. Raises the `ClientError` that another status means."""
        if status not in self.good:
            raise error_of(status, body)
        if issubclass(self.answer, bytes):
            return self.answer(body)
        try:
            return msgspec.json.decode(body, type=self.answer)
        except msgspec.MsgspecError as error:
            raise UnexpectedAnswer from error


def health() -> Call[Health]:
    """Ask how the pod is; it answers at any time, also when it is unwell or on its way out."""
    return Call(method="GET", path="/health", answer=Health, good=_SUCCESS | {_UNWELL})


def create_job(job_id: str, job: Mapping[str, Any]) -> Call[Accepted]:
    """Hand in a job under an id of the caller's: asked twice, it is one job."""
    return Call(
        method="PUT",
        path=_job(job_id),
        answer=Accepted,
        body=msgspec.json.encode(job),
        media_type="application/json",
    )


def find_job(job_id: str) -> Call[JobView]:
    """Ask for one job."""
    return Call(method="GET", path=_job(job_id), answer=JobView)


def list_jobs(status: str | None, user_id: str | None, limit: int) -> Call[JobList]:
    """Ask for the newest jobs."""
    wanted = {"status": status, "user_id": user_id, "limit": str(limit)}
    query = {name: value for name, value in wanted.items() if value}
    return Call(method="GET", path="/v1/jobs", answer=JobList, query=query)


def cancel_job(job_id: str) -> Call[bytes]:
    """Ask for a job to be stopped."""
    return Call(method="DELETE", path=_job(job_id), answer=bytes)


def receipt(job_id: str) -> Call[Receipt]:
    """Ask for the account of a job's last attempt."""
    return Call(method="GET", path=f"{_job(job_id)}/receipt", answer=Receipt)


def preview(job_id: str) -> Call[bytes]:
    """Ask for the newest preview, WEBP."""
    return Call(method="GET", path=f"{_job(job_id)}/preview", answer=bytes)


def asset(job_id: str, index: int, *, thumbnail: bool) -> Call[bytes]:
    """Ask for one stored file."""
    tail = "/thumbnail" if thumbnail else ""
    return Call(method="GET", path=f"{_job(job_id)}/assets/{index}{tail}", answer=bytes)


def keep_reference(user_id: str, picture: bytes) -> Call[ReferenceKept]:
    """Store a picture (PNG, JPEG or WEBP) that the user's jobs may name."""
    return Call(
        method="POST",
        path="/v1/references",
        answer=ReferenceKept,
        query={"user_id": user_id},
        body=picture,
        media_type="application/octet-stream",
    )


def chat(messages: Sequence[Message], options: ChatOptions, *, stream: bool) -> Call[ChatReply]:
    """Ask for a text; as events while it is written when `stream`."""
    body = {"messages": list(messages), "stream": stream, **options}
    return Call(
        method="POST",
        path="/chat",
        answer=ChatReply,
        body=msgspec.json.encode(body),
        media_type="application/json",
    )


def memory_status() -> Call[MemoryStatus]:
    """Ask how the device's memory is used."""
    return Call(method="GET", path="/memory/status", answer=MemoryStatus)


def memory_report() -> Call[MemoryReport]:
    """Ask for every worker's memory, what is expected, and the last moves."""
    return Call(method="GET", path="/memory/report", answer=MemoryReport)


def move_model(verb: str, which: str | None, *, force: bool) -> Call[ModelsMoved]:
    """Ask for a model to be loaded or unloaded; `verb` is `load` or `unload`."""
    return _move(f"/memory/{verb}", ModelsMoved, {"which": which, "force": force})


def operate(
    operation: str, target: str | None, required_gb: float | None, *, force: bool
) -> Call[OperationReply]:
    """Ask for one operation on the device's memory."""
    body = {
        "operation": operation,
        "target_worker": target,
        "required_gb": required_gb,
        "force": force,
    }
    return _move("/emergency/operation", OperationReply, body)


def list_letters(limit: int) -> Call[DeadLetterList]:
    """Ask for the newest dead letters."""
    query = {"limit": str(limit)}
    return Call(method="GET", path="/v1/dead", answer=DeadLetterList, query=query)


def replay_letter(letter_id: str) -> Call[Replayed]:
    """Ask for a dead letter to be worked anew."""
    path = f"/v1/dead/{quote(letter_id, safe='')}/replay"
    return Call(method="POST", path=path, answer=Replayed)


def list_dead_callbacks(limit: int) -> Call[DeadCallbackList]:
    """Ask for the newest callbacks that the pod has given up."""
    query = {"limit": str(limit)}
    return Call(method="GET", path="/v1/callbacks/dead", answer=DeadCallbackList, query=query)


def replay_callback(callback_id: int) -> Call[bytes]:
    """Ask for a dead callback to be sent again."""
    return Call(method="POST", path=f"/v1/callbacks/dead/{callback_id}/replay", answer=bytes)


def events_path(job_id: str) -> str:
    """Where a job's events are streamed."""
    return f"{_job(job_id)}/events"


def _job(job_id: str) -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}"


def _move(path: str, answer: type[Result], body: Mapping[str, Any]) -> Call[Result]:
    return Call(
        method="POST",
        path=path,
        answer=answer,
        body=msgspec.json.encode(body),
        media_type="application/json",
        patience_s=MOVE_PATIENCE_S,
    )
