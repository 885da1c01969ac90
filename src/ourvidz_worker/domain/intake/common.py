"""What every job object has: who asks, what type, which seed, and what only travels along."""

import hashlib
import re
from collections.abc import Sequence

import msgspec

from ourvidz_worker.domain.errors import InvalidPrompt, PayloadTooLarge, RequestError
from ourvidz_worker.domain.ids import ID_RULE, is_id
from ourvidz_worker.domain.intake.fields import Fields, read_object, wrong
from ourvidz_worker.domain.job_types import JobType, find_job_type
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import Recorded, Request

MAX_SEED = (1 << 53) - 1
"""The largest integer that every JSON reader keeps exactly (3.3)."""

DEFAULT_DENOISE = 0.20
"""How far a result may leave its reference where the job does not say (4.1, V-2)."""

ID_NAMES = ("id", "job_id", "jobId")

#: Flags without effect on any result (P-5, traps of 3.3): recorded, wherever they are given.
PASSED_THROUGH = (
    "sfw_mode",
    "content_tier",
    "content_type",
    "contentType",
    "nsfw_optimization",
    "nsfw_enforce",
    "unrestricted_mode",
    "nsfw_reason",
    "quality",
    "format",
    "reference_type",
    "motion_intensity",
    "enhancement_source",
    "conversation_id",
    "project_id",
    "context_type",
)

MAX_RECORDED = 256
"""Longest text recorded of such a flag, characters; the job itself is kept whole."""

_DENOISE = ("config.denoise_strength", "metadata.denoise_strength")
_REFERENCE_STRENGTH = ("config.reference_strength", "metadata.reference_strength")

# `user_id` does not match; in a job object inside a string the quotes are escaped.
_ID_LOOSE = re.compile(rb'"(?:job_)?id\\*"\s*:\s*\\*"([A-Za-z0-9._-]{1,128})\\*"')


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What this pod takes; the defaults are the contract's (section 11, H-3)."""

    max_payload_bytes: int = 4 * 1024 * 1024
    max_frames: int = 161
    max_output_tokens: int = 4096
    admin_writes: bool = False
    """True where queued questions about the pod may change its state (3.6)."""


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """A job object, read: who asks for what.

    `asked_mode` is the reference mode that the caller meant, whether or not it was read with
    its references.
    """

    job_id: str
    user_id: str
    job_type: JobType
    request: Request
    asked_mode: str = "none"


def open_fields(payload: bytes, limits: Limits) -> Fields:
    """The fields of one job object. Raises `PayloadTooLarge` and `RequestError`."""
    if len(payload) > limits.max_payload_bytes:
        raise PayloadTooLarge
    return Fields(read_object(payload))


def read_id(fields: Fields, job_id: str | None) -> str:
    """The job's id, from the object or else the one the caller named it by."""
    found = fields.find(*ID_NAMES)
    if found is None and job_id is None:
        raise RequestError("id is missing", field="id")
    named = job_id if found is None else found.value
    field = "id" if found is None else found.name
    if not isinstance(named, str) or not is_id(named):
        raise wrong(field, ID_RULE)
    if job_id is not None and named != job_id:
        raise RequestError("id must be the id that the job is addressed by", field="id")
    return named


def read_user(fields: Fields) -> str:
    """The user the job belongs to."""
    found = fields.find("user_id", "userId")
    if found is None:
        raise RequestError("user_id is missing", field="user_id")
    if not isinstance(found.value, str) or not is_id(found.value):
        raise wrong(found.name, ID_RULE)
    return found.value


def read_type(fields: Fields) -> JobType:
    """The row of the job's type; `type` wins over `job_type`."""
    found = fields.find("type", "job_type")
    if found is None:
        raise RequestError("type is missing", field="type")
    row = find_job_type(found.value) if isinstance(found.value, str) else None
    if row is None:
        raise wrong(found.name, "a job type that this worker knows")
    return row


def read_prompt(fields: Fields, *, has_reference: bool) -> str:
    """The prompt, byte for byte; it may be empty only beside a reference picture."""
    prompt = fields.text("prompt")
    if prompt is None:
        raise RequestError("prompt is missing", field="prompt")
    if prompt == "" and not has_reference:
        raise InvalidPrompt(
            "prompt is empty; that is possible only with a reference picture", field="prompt"
        )
    return prompt


def read_negative(fields: Fields) -> str | None:
    """The negative prompt; None means none, and the empty text is a text (3.3)."""
    return fields.text("negative_prompt", "config.negative_prompt")


def read_seed(fields: Fields) -> int | None:
    """The seed; None means that one is to be drawn. 0 is a seed, -1 asks for a drawn one."""
    seed = fields.integer("config.seed", "seed", "metadata.seed", low=-1, high=MAX_SEED)
    return None if seed == -1 else seed


def read_denoise(fields: Fields) -> float | None:
    """How far the result may leave its reference, 0..1, or None where the job does not say."""
    denoise = fields.number(*_DENOISE, low=0, high=1)
    kept = fields.number(*_REFERENCE_STRENGTH, low=0, high=1)
    if denoise is None and kept is not None:
        # 1 - 0.95 is 0.050000000000000044 in binary; the caller said 0.05.
        return round(1 - kept, 9)
    return denoise


def read_truncation(fields: Fields) -> bool:
    """True when the caller allows that a long prompt is cut (P-3)."""
    return fields.flag("metadata.allow_truncation", "config.allow_truncation") or False


def read_fallback(fields: Fields) -> bool | None:
    """Whether generation may go on without its reference (F-1); None leaves it to the pod."""
    return fields.flag("metadata.allow_fallback", "config.allow_fallback", "allow_fallback")


def read_recorded(
    fields: Fields, *, warnings: Sequence[str] = (), differences: Sequence[Difference] = ()
) -> Recorded:
    """What travels along; the last thing read, because it lists what nobody asked for."""
    passed = {}
    for key in PASSED_THROUGH:
        given = [fields.peek(name) for name in (key, f"metadata.{key}", f"config.{key}")]
        value = next((value for value in given if value is not None), None)
        if isinstance(value, bool | int | float | str):
            short = value[:MAX_RECORDED] if isinstance(value, str) else value
            passed[key] = msgspec.Raw(msgspec.json.encode(short))
    return Recorded(
        passed_through=passed,
        ignored_fields=fields.ignored(),
        warnings=tuple(warnings),
        differences=tuple(differences),
    )


def find_id(payload: bytes) -> str | None:
    """A job's id in whatever was received, so that its owner can be told of a failure, or None."""
    try:
        top = read_object(payload)
    except RequestError:
        match = _ID_LOOSE.search(payload)
        named: object = match[1].decode("ascii") if match else None
    else:
        named = next((top[name] for name in ID_NAMES if top.get(name) is not None), None)
    return named if isinstance(named, str) and is_id(named) else None


def is_job_object(payload: bytes) -> bool:
    """True when a payload is a JSON object, whatever is wrong with its fields."""
    try:
        read_object(payload)
    except RequestError:
        return False
    return True


def canonical_fingerprint(payload: bytes) -> str:
    """SHA-256 (hex) of a job object's canonical JSON: keys in order, no white space.

    Two objects that mean the same have the same one. Raises `RequestError` for no JSON object.
    """
    canonical = msgspec.json.encode(read_object(payload), order="sorted")
    return hashlib.sha256(canonical).hexdigest()
