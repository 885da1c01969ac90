"""Intake: a caller's job object, with all its aliases and leftovers, becomes a strict request.

Pure: what comes out is a function of the payload and the limits alone. The traps of contract 3.3
are dealt with here and nowhere else.
"""

from ourvidz_worker.domain.intake.chat import read_admin, read_chat
from ourvidz_worker.domain.intake.common import (
    Intake,
    Limits,
    canonical_fingerprint,
    find_id,
    is_job_object,
    open_fields,
    read_id,
    read_type,
    read_user,
)
from ourvidz_worker.domain.intake.dropped import REFERENCE_FIELDS, asked_mode_of
from ourvidz_worker.domain.intake.fields import Fields
from ourvidz_worker.domain.intake.image import read_image
from ourvidz_worker.domain.intake.video import read_video
from ourvidz_worker.domain.job_types import Family, JobType
from ourvidz_worker.domain.request import Request


def read_job(
    payload: bytes, *, limits: Limits, job_id: str | None = None, with_references: bool = True
) -> Intake:
    """Read one job object (UTF-8 JSON).

    `job_id` names the job where the object does not. `with_references` false reads the same job
    as if no reference picture had been given (F-3). Raises `PayloadTooLarge`, `RequestError`,
    `InvalidPrompt` or `BadReference`, each with the `field` at fault in the caller's words.
    """
    fields = open_fields(payload, limits)
    row = read_type(fields)
    job_id, user_id = read_id(fields, job_id), read_user(fields)
    if with_references:
        request = _read_request(fields, row, limits)
        mode = getattr(request, "mode", "none")
        return Intake(
            job_id=job_id, user_id=user_id, job_type=row, request=request, asked_mode=mode
        )
    mode = asked_mode_of(fields, row)
    bare = _read_request(fields.without(REFERENCE_FIELDS), row, limits)
    return Intake(job_id=job_id, user_id=user_id, job_type=row, request=bare, asked_mode=mode)


def _read_request(fields: Fields, row: JobType, limits: Limits) -> Request:
    match row.family:
        case Family.SDXL:
            return read_image(fields, row)
        case Family.WAN:
            return read_video(fields, row, limits)
        case Family.CHAT:
            return read_chat(fields, row, limits)
        case Family.ADMIN:
            return read_admin(fields, row, limits)


__all__ = ["Intake", "Limits", "canonical_fingerprint", "find_id", "is_job_object", "read_job"]
