"""Falling back to generation without a reference (contract 4.4): when, and what is told of it."""

from collections.abc import Mapping
from types import MappingProxyType

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import (
    BadReference,
    ImageToImageFailed,
    InvalidPrompt,
    OurvidzError,
)
from ourvidz_worker.domain.intake import Intake, Limits, read_job
from ourvidz_worker.domain.messages import Failed
from ourvidz_worker.domain.request import ImageRequest, Request, VideoRequest

NEVER = "REFERENCE_FORBIDDEN"
"""Another user's picture is refused whatever the job allows (F-2)."""

#: The two classes of failure that may fall back, by code (F-2).
MAY_FALL_BACK: Mapping[str, type[OurvidzError]] = MappingProxyType(
    {kind.code: kind for kind in (BadReference, ImageToImageFailed)}
)


def read_or_fall_back(
    payload: bytes, *, job_id: str | None, limits: Limits, by_default: bool = False
) -> Intake:
    """Read a job; where its references cannot be used as asked and may go, without them.

    Raises what `read_job` raises.
    """
    try:
        return read_job(payload, job_id=job_id, limits=limits)
    except BadReference as error:
        try:
            bare = read_job(payload, job_id=job_id, limits=limits, with_references=False)
        except InvalidPrompt:
            raise error from None  # an empty prompt means something only beside a picture
        if error.reason == NEVER or not allows(bare.request, by_default=by_default):
            raise
        return bare


def allows(request: Request, *, by_default: bool) -> bool:
    """True when the job lets its reference go; what it says itself goes before the pod's rule."""
    if not isinstance(request, ImageRequest | VideoRequest):
        return False
    return by_default if request.allow_fallback is None else request.allow_fallback


def is_reason(failed: Failed) -> bool:
    """True when a failure is one that generation without the reference may follow."""
    return failed.code in MAY_FALL_BACK and failed.reason != NEVER


def facts_of(failed: Failed, asked_mode: str) -> Metadata:
    """What a completed callback says of a reference that was dropped (F-3)."""
    reason = f"{failed.code}:{failed.reason}" if failed.reason else failed.code
    return {
        "fallback_used": True,
        "fallback_reason": reason,
        "requested_reference_mode": asked_mode,
    }
