"""Image jobs: the two SDXL types (contract 3.4) and their image-to-image modes (4.1)."""

from typing import Literal, NamedTuple

from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.intake.common import (
    DEFAULT_DENOISE,
    read_denoise,
    read_fallback,
    read_negative,
    read_prompt,
    read_recorded,
    read_seed,
    read_truncation,
)
from ourvidz_worker.domain.intake.fields import Fields, wrong
from ourvidz_worker.domain.intake.sizes import first_size
from ourvidz_worker.domain.job_types import JobType
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import ImageRequest

STEPS_NAMES = ("config.num_inference_steps", "config.steps", "config.sample_steps")
GUIDANCE_NAMES = ("config.guidance_scale", "config.cfg", "config.sample_guide_scale")
COUNT_NAMES = ("config.num_images", "config.batch_size")
REFERENCE_NAMES = (
    "metadata.reference_image_url",
    "config.reference_image_url",
    "config.image",
    "reference_image_url",
)

MAX_STEPS, MAX_GUIDANCE, MAX_COUNT = 100, 30, 6
MIN_SIDE, MAX_SIDE, SIDE_STEP = 256, 1536, 8

COPY_DENOISE = 0.05
"""Denoise of a copy; a reference with no more than this and no guidance is one (4.1)."""

COPY_GUIDANCE = 1.0

#: The white list of 3.4; the engine has a solver for each.
SCHEDULERS = ("euler", "euler_a", "dpm++", "dpm++_karras", "dpm++_single", "unipc", "heun")

RESIZE_POLICIES: tuple[Literal["center_crop", "letterbox", "stretch"], ...] = (
    "center_crop",
    "letterbox",
    "stretch",
)

DetectedBy = Literal["flag", "mode", "parameters"]


def read_image(fields: Fields, row: JobType) -> ImageRequest:
    """The strict request of an SDXL job. Raises `RequestError` and `InvalidPrompt`."""
    _, reference = fields.filled(*REFERENCE_NAMES) or (None, None)
    prompt = read_prompt(fields, has_reference=reference is not None)
    guidance = fields.number(*GUIDANCE_NAMES, low=0, high=MAX_GUIDANCE)
    asked = _Asked(guidance, read_denoise(fields), read_negative(fields))
    detected_by = _copy_detected_by(fields, asked, has_reference=reference is not None)
    differences = () if detected_by is None else _differences_of_copy(asked)
    done = _done(asked, row, is_copy=detected_by is not None)
    width, height = _read_size(fields, row)
    weighting = fields.flag("compel_enabled", "metadata.compel_enabled") or False
    policy = fields.choice("config.resize_policy", allowed=RESIZE_POLICIES)
    return ImageRequest(
        job_type=row.name,
        prompt=prompt,
        negative_prompt=done.negative,
        steps=fields.integer(*STEPS_NAMES, low=1, high=MAX_STEPS) or row.steps,
        guidance=done.guidance,
        width=width,
        height=height,
        count=fields.integer(*COUNT_NAMES, low=1, high=MAX_COUNT) or 1,
        seed=read_seed(fields),
        scheduler=fields.choice("config.scheduler", allowed=SCHEDULERS),
        reference=reference,
        strength=None if reference is None else done.denoise,
        mode="none" if reference is None else "copy" if detected_by else "modify",
        copy_detected_by=detected_by,
        resize_policy=policy or "center_crop",
        weighting=weighting,
        weights=fields.text("compel_weights", "metadata.compel_weights") or "",
        allow_truncation=read_truncation(fields),
        allow_fallback=read_fallback(fields),
        recorded=read_recorded(fields, differences=differences),
    )


class _Asked(NamedTuple):
    guidance: float | None
    denoise: float | None
    negative: str | None


class _Done(NamedTuple):
    guidance: float
    denoise: float
    negative: str | None


def _copy_detected_by(fields: Fields, asked: _Asked, *, has_reference: bool) -> DetectedBy | None:
    """How a copy is recognised, or None when the job is none."""
    exact = fields.flag("metadata.exact_copy_mode")
    if not has_reference:
        if exact:
            raise RequestError(
                "metadata.exact_copy_mode needs a reference picture",
                field="metadata.exact_copy_mode",
            )
        return None
    if exact:
        return "flag"
    if fields.text("metadata.reference_mode") == "copy":
        return "mode"
    denoise = DEFAULT_DENOISE if asked.denoise is None else asked.denoise
    unguided = asked.guidance is None or asked.guidance <= COPY_GUIDANCE
    return "parameters" if denoise <= COPY_DENOISE and unguided else None


def _done(asked: _Asked, row: JobType, *, is_copy: bool) -> _Done:
    denoise = DEFAULT_DENOISE if asked.denoise is None else asked.denoise
    if is_copy:
        given = asked.denoise is not None and asked.denoise <= COPY_DENOISE
        return _Done(COPY_GUIDANCE, denoise if given else COPY_DENOISE, None)
    guidance = row.guidance if asked.guidance is None else asked.guidance
    return _Done(guidance, denoise, asked.negative)


def _differences_of_copy(asked: _Asked) -> tuple[Difference, ...]:
    """What a copy executes otherwise than asked (4.1)."""
    found = []
    if asked.guidance is not None and asked.guidance != COPY_GUIDANCE:
        found.append(("guidance_scale", f"{asked.guidance:g}", f"{COPY_GUIDANCE:g}"))
    if asked.denoise is not None and asked.denoise > COPY_DENOISE:
        found.append(("denoise_strength", f"{asked.denoise:g}", f"{COPY_DENOISE:g}"))
    if asked.negative:
        found.append(("negative_prompt", "given", "none"))
    return tuple(
        Difference(parameter=name, requested=before, effective=after, reason="copy mode")
        for name, before, after in found
    )


def _read_size(fields: Fields, row: JobType) -> tuple[int, int]:
    size = first_size(fields, ("config.width", "config.height"), "config.resolution", "config.size")
    if size is None:
        return row.width, row.height
    for field, side in zip(size.fields, size[:2], strict=True):
        if side % SIDE_STEP or not MIN_SIDE <= side <= MAX_SIDE:
            raise wrong(field, f"in multiples of {SIDE_STEP} from {MIN_SIDE} to {MAX_SIDE} pixels")
    return size.width, size.height
