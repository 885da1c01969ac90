"""The border from our errors to HTTP: one row a class, one form for all of them (contract 2.6)."""

import math
from collections.abc import Mapping
from types import MappingProxyType

import msgspec
from starlette.responses import Response

from ourvidz_worker.domain.errors import (
    AttemptError,
    BadReference,
    ConfigError,
    Conflict,
    DeadlinePassed,
    ImageToImageFailed,
    InvalidPrompt,
    LeaseLost,
    MethodNotAllowed,
    ModelLoadFailed,
    NotFound,
    OurvidzError,
    OutOfMemory,
    PayloadTooLarge,
    QueueUnavailable,
    RateLimited,
    Refused,
    RequestError,
    ThumbnailFailed,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
    UploadFailed,
    UploadRefused,
    WorkerLost,
)

MEDIA_TYPE = "application/problem+json"

FORBIDDEN = ("inf", "nan", "probability tensor", "content policy", "inappropriate")
"""What no error body may contain, in any case: clients search the text for it (H-22)."""

SPEAKABLE_NAMES = MappingProxyType({"num_inference_steps": "steps"})
"""Contract names that hold a forbidden word, and the alias that may be told instead."""

RETRY_AFTER_S = 5
"""What `Retry-After` says where the error does not know better."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """How one class of error looks from outside."""

    status: int
    title: str


#: Every class of the tree; a test compares them (contract 11).
KINDS: Mapping[type[OurvidzError], Kind] = MappingProxyType(
    {
        OurvidzError: Kind(status=500, title="Broken"),
        RequestError: Kind(status=400, title="Invalid request"),
        InvalidPrompt: Kind(status=422, title="Invalid prompt"),
        Refused: Kind(status=422, title="Refused"),
        BadReference: Kind(status=422, title="Unusable reference"),
        Unauthorized: Kind(status=401, title="Key needed"),
        NotFound: Kind(status=404, title="Not found"),
        MethodNotAllowed: Kind(status=405, title="Method not allowed"),
        Conflict: Kind(status=409, title="Conflict"),
        PayloadTooLarge: Kind(status=413, title="Body too large"),
        UnsupportedMediaType: Kind(status=415, title="Unsupported media type"),
        RateLimited: Kind(status=429, title="Too many requests"),
        AttemptError: Kind(status=500, title="Generation failed"),
        OutOfMemory: Kind(status=503, title="Out of memory"),
        ModelLoadFailed: Kind(status=503, title="Model not loaded"),
        DeadlinePassed: Kind(status=504, title="Deadline passed"),
        ImageToImageFailed: Kind(status=500, title="Image to image failed"),
        ThumbnailFailed: Kind(status=500, title="Thumbnail failed"),
        WorkerLost: Kind(status=503, title="Worker lost"),
        LeaseLost: Kind(status=503, title="Unavailable"),
        Unavailable: Kind(status=503, title="Unavailable"),
        QueueUnavailable: Kind(status=503, title="Unavailable"),
        UploadFailed: Kind(status=502, title="Result not stored"),
        UploadRefused: Kind(status=502, title="Result not stored"),
        ConfigError: Kind(status=500, title="Configuration"),
    }
)

_WITH_RETRY_AFTER = frozenset({429, 503})

SERVER_FAULT = 500
"""From this status on the fault is ours."""


OPENAI_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/models")
"""Addresses, and all below them, whose callers look for a message inside `error`."""


class ProblemMembers(msgspec.Struct, frozen=True, kw_only=True):
    """What every error tells (RFC 9457 and H-20), but for its member `error`.

    `field` names the part of the request at fault, `error_reason` why a reference was unusable.
    """

    type: str
    title: str
    status: int
    detail: str
    instance: str
    code: str
    retryable: bool
    request_id: str
    success: bool = False
    field: str | msgspec.UnsetType = msgspec.UNSET
    error_reason: str | msgspec.UnsetType = msgspec.UNSET


class Problem(ProblemMembers, frozen=True, kw_only=True):
    """An error as every route of our own tells it; `detail` and `error` are one sentence."""

    error: str


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """An error as OpenAI's clients read it; `param` is the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIProblem(ProblemMembers, frozen=True, kw_only=True):
    """An error as the routes of OpenAI's protocol tell it: the sentence is inside `error`."""

    error: ErrorObject


def problem_of(error: OurvidzError, request_id: str) -> Problem:
    """The problem that tells `error`; nothing forbidden passes, whoever wrote the sentence."""
    kind = kind_of(type(error))
    sentence = _sentence(error)
    field = _speakable(error.field)
    reason = _speakable(error.reason) if isinstance(error, BadReference) else None
    return Problem(
        type=f"urn:ourvidz:problem:{error.code.lower()}",
        title=kind.title,
        status=kind.status,
        detail=sentence,
        instance=f"urn:uuid:{request_id}",
        error=sentence,
        code=error.code,
        retryable=error.may_retry,
        request_id=request_id,
        field=field or msgspec.UNSET,
        error_reason=reason or msgspec.UNSET,
    )


def openai_problem_of(error: OurvidzError, request_id: str) -> OpenAIProblem:
    """The same, for a caller who speaks OpenAI's protocol."""
    problem = problem_of(error, request_id)
    told = ErrorObject(
        message=problem.error,
        type=_openai_type(problem.status),
        param=None if problem.field is msgspec.UNSET else problem.field,
        code=problem.code,
    )
    return OpenAIProblem(**msgspec.structs.asdict(problem) | {"error": told})


def speaks_openai(path: str) -> bool:
    """True for an address of OpenAI's protocol."""
    return any(path == known or path.startswith(f"{known}/") for known in OPENAI_PATHS)


def problem_response(error: OurvidzError, request_id: str, *, path: str = "") -> Response:
    """The reply that tells `error` at `path`, with the headers its status asks for."""
    form = openai_problem_of if speaks_openai(path) else problem_of
    problem = form(error, request_id)
    headers = {}
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = str(error.facts.get("allow", ""))
    if problem.status in _WITH_RETRY_AFTER:
        headers["Retry-After"] = str(_retry_after(error))
    body = msgspec.json.encode(problem)
    return Response(body, problem.status, headers=headers, media_type=MEDIA_TYPE)


def kind_of(error: type[OurvidzError]) -> Kind:
    """The row of a class, or of its nearest ancestor that has one."""
    return next(KINDS[row] for row in error.__mro__ if row in KINDS)


def is_speakable(text: str) -> bool:
    """True when `text` may stand in an error body (H-22)."""
    folded = text.lower()
    return not any(word in folded for word in FORBIDDEN)


def _openai_type(status: int) -> str:
    named = {401: "authentication_error", 429: "rate_limit_error"}
    return named.get(status, "server_error" if status >= SERVER_FAULT else "invalid_request_error")


def _sentence(error: OurvidzError) -> str:
    default = (type(error).__doc__ or "").strip().partition("\n")[0]
    fallback = default if is_speakable(default) else "The request could not be served."
    return _speakable(error.sentence) or fallback


def _speakable(text: str | None) -> str | None:
    if text is None:
        return None
    for name, alias in SPEAKABLE_NAMES.items():
        text = text.replace(name, alias)
    return text if is_speakable(text) else None


def _retry_after(error: OurvidzError) -> int:
    seconds = error.facts.get("retry_after_s", RETRY_AFTER_S)
    return max(1, math.ceil(seconds)) if isinstance(seconds, int | float) else RETRY_AFTER_S
