"""Video jobs and Wan stills (contract 3.5), and the pictures a clip is tied to (section 5)."""

from math import floor, log
from typing import Literal, NamedTuple

from ourvidz_worker.domain.errors import BadReference, RequestError
from ourvidz_worker.domain.intake.chat import read_messages
from ourvidz_worker.domain.intake.common import (
    DEFAULT_DENOISE,
    Limits,
    read_denoise,
    read_fallback,
    read_negative,
    read_prompt,
    read_recorded,
    read_seed,
    read_truncation,
)
from ourvidz_worker.domain.intake.fields import Fields, whole, wrong
from ourvidz_worker.domain.intake.image import (
    COUNT_NAMES,
    GUIDANCE_NAMES,
    MAX_GUIDANCE,
    MAX_STEPS,
    STEPS_NAMES,
)
from ourvidz_worker.domain.intake.sizes import Size, aspect_of_text, first_size
from ourvidz_worker.domain.job_types import JobType, Media
from ourvidz_worker.domain.request import Message, VideoRequest

FPS = 16
MIN_FRAMES = 5
MAX_SHIFT = 20
MAX_FRAMES_ASKED = 1_000_000
"""Longest clip that is understood at all; `Limits.max_frames` is checked after this."""

MAX_SECONDS_ASKED = MAX_FRAMES_ASKED // FPS

FRAME_STEP = 4
"""The VAE packs four frames into one after the first: clips are 4k + 1 frames long."""

FRAMES_PER_SECOND_STEP = FPS // FRAME_STEP

SIDE_STEP = 16
MAX_AREA = 832 * 480

#: One size for each aspect; anything that is not executed as asked goes to the nearest (3.5).
SIZES = ((832, 480), (480, 832), (624, 624))

SOLVERS: tuple[Literal["dpm++", "unipc"], ...] = ("dpm++", "unipc")

FIRST_NAMES = ("config.first_frame", "metadata.start_reference_url")
LAST_NAMES = ("config.last_frame", "metadata.end_reference_url")
IMAGE_NAMES = ("config.image", "metadata.reference_image_url")
FRAMES_NAMES = ("config.frame_num", "config.frames", "config.num_frames", "frames", "num_frames")
MODE_NAMES = ("metadata.video_reference_mode", "config.reference_mode")

#: What each mode needs; the mode itself follows from what is given (section 5).
NEEDS = {"start": ("first",), "end": ("last",), "both": ("first", "last"), "single": ("image",)}

CONDITIONING_SLOPE = 1.25
"""V-2: `min(1, 1.25 * (1 - denoise))`, so that the client's unasked 0.20 means full strength."""

Mode = Literal["none", "single", "start", "end", "both"]


def read_video(fields: Fields, row: JobType, limits: Limits) -> VideoRequest:
    """The strict request of a Wan job. Raises `RequestError`, `InvalidPrompt`, `BadReference`."""
    sources = _read_sources(fields)
    mode = _mode_of(sources)
    still = row.media is Media.IMAGE
    warnings = _check_still(sources) if still else _check_mode(fields, mode, sources)
    fields.integer(*COUNT_NAMES, low=1, high=1)
    _read_fps(fields)
    width, height, requested_size = _read_size(fields, row)
    frames, requested_frames = _read_frames(fields, row, limits)
    guidance = fields.number(*GUIDANCE_NAMES, low=0, high=MAX_GUIDANCE)
    denoise = read_denoise(fields)
    strength = DEFAULT_DENOISE if denoise is None else denoise
    messages, text = _read_enhancement(fields, row)
    return VideoRequest(
        job_type=row.name,
        prompt=read_prompt(fields, has_reference=mode != "none"),
        negative_prompt=read_negative(fields),
        steps=fields.integer(*STEPS_NAMES, low=1, high=MAX_STEPS) or row.steps,
        guidance=row.guidance if guidance is None else guidance,
        width=width,
        height=height,
        frames=frames,
        requested_size=requested_size,
        requested_frames=requested_frames,
        seed=read_seed(fields),
        solver=fields.choice("config.sample_solver", allowed=SOLVERS) or "dpm++",
        shift=fields.number("config.sample_shift", low=0, high=MAX_SHIFT, above=True) or 5.0,
        first=sources.first if mode in {"start", "both"} else None,
        last=sources.last if mode in {"end", "both"} else None,
        image=sources.image if mode == "single" else None,
        mode=mode,
        single_mode=_read_single_mode(fields, still=still),
        strength=strength,
        conditioning_scale=_read_conditioning(fields, mode, strength),
        enhancement_messages=messages,
        enhancement_text=text,
        allow_truncation=read_truncation(fields),
        allow_fallback=read_fallback(fields),
        recorded=read_recorded(fields, warnings=warnings),
    )


def asked_mode(fields: Fields) -> str:
    """The mode that the caller meant: the one named where its pictures lack, else those given."""
    sources = _read_sources(fields)
    named = fields.find(*MODE_NAMES)
    given = sources._asdict()
    named_mode = named.value if named is not None and isinstance(named.value, str) else ""
    lacking = any(given[role] is None for role in NEEDS.get(named_mode, ()))
    return named_mode if lacking else _mode_of(sources)


class _Sources(NamedTuple):
    first: str | None
    last: str | None
    image: str | None


def _read_sources(fields: Fields) -> _Sources:
    _, first = fields.filled(*FIRST_NAMES) or (None, None)
    _, last = fields.filled(*LAST_NAMES) or (None, None)
    name, image = fields.filled(*IMAGE_NAMES) or (None, None)
    if name is not None and (first or last):
        fields.ignore(name)
    return _Sources(first, last, image)


def _mode_of(sources: _Sources) -> Mode:
    if sources.first and sources.last:
        return "both"
    if sources.first:
        return "start"
    if sources.last:
        return "end"
    return "single" if sources.image else "none"


def _check_mode(fields: Fields, mode: Mode, sources: _Sources) -> tuple[str, ...]:
    """A named mode is a check: a frame it names must be given, else the sources win."""
    named = fields.find(*MODE_NAMES)
    if named is None or named.value == mode:
        return ()
    if not isinstance(named.value, str):
        raise wrong(named.name, "a text")
    given = sources._asdict()
    if any(given[role] is None for role in NEEDS.get(named.value, ())):
        raise BadReference(
            f"{named.name} names a picture that is not given",
            reason="REFERENCE_MISSING",
            field=named.name,
        )
    return (f"{named.name} was overruled by the pictures given: {mode}",)


def _check_still(sources: _Sources) -> tuple[str, ...]:
    """A still has no first or last frame to tie (V-3)."""
    if sources.first or sources.last:
        field = (FIRST_NAMES if sources.first else LAST_NAMES)[0]
        raise BadReference(
            "A still picture takes a reference picture, not a first or last frame",
            reason="REFERENCE_UNSUPPORTED",
            field=field,
        )
    return ()


def _read_single_mode(fields: Fields, *, still: bool) -> Literal["pinned", "subject"]:
    asked = fields.choice("config.single_mode", allowed=("pinned", "subject"))
    return "subject" if still or asked == "subject" else "pinned"


def _read_conditioning(fields: Fields, mode: Mode, denoise: float) -> float | None:
    asked = fields.number("config.conditioning_scale", low=0, high=2)
    if mode == "none":
        return None
    return min(1.0, round(CONDITIONING_SLOPE * (1 - denoise), 9)) if asked is None else asked


def _read_fps(fields: Fields) -> None:
    found = fields.find("config.fps")
    if found is not None and whole(found.value) != FPS:
        fields.ignore(found.name)


def _read_size(fields: Fields, row: JobType) -> tuple[int, int, str | None]:
    """Width and height to execute, and what was asked in the caller's form."""
    size = first_size(
        fields,
        "config.size",
        ("config.width", "config.height"),
        ("width", "height"),
        "config.resolution",
    )
    if size is None:
        aspect = aspect_of_text(fields, "metadata.aspect_ratio")
        if aspect is None:
            return row.width, row.height, None
        return *_nearest(aspect), f"{aspect.width}:{aspect.height}"
    asked = f"{size.width}x{size.height}"
    fits = not (size.width % SIDE_STEP or size.height % SIDE_STEP)
    if fits and size.width * size.height <= MAX_AREA:
        return size.width, size.height, asked
    return *_nearest(size), asked


def _nearest(size: Size) -> tuple[int, int]:
    asked = log(size.width / size.height)
    return min(SIZES, key=lambda known: abs(log(known[0] / known[1]) - asked))


def _read_frames(fields: Fields, row: JobType, limits: Limits) -> tuple[int, int | None]:
    """Frames to execute, and the number asked for where one was."""
    given = fields.find(*FRAMES_NAMES)
    if row.media is Media.IMAGE:
        if given is not None and whole(given.value) != 1:
            fields.ignore(given.name)
        return row.frames, None
    asked = fields.integer(*FRAMES_NAMES, low=1, high=MAX_FRAMES_ASKED)
    if given is not None and asked is not None:
        field, frames = given.name, FRAME_STEP * ((asked - 1) // FRAME_STEP) + 1
    else:
        field, frames = "metadata.duration", _frames_of_duration(fields) or row.frames
    if not MIN_FRAMES <= frames <= limits.max_frames:
        raise RequestError(
            f"{field} must come to {MIN_FRAMES} to {limits.max_frames} frames", field=field
        )
    return frames, asked


def _frames_of_duration(fields: Fields) -> int | None:
    seconds = fields.number("metadata.duration", low=0, high=MAX_SECONDS_ASKED, above=True)
    if seconds is None:
        return None
    return FRAME_STEP * floor(FRAMES_PER_SECOND_STEP * seconds) + 1


def _read_enhancement(fields: Fields, row: JobType) -> tuple[tuple[Message, ...], str | None]:
    """The caller's own instructions for an extended prompt (W-3); never any of ours."""
    if not row.extends_prompt:
        return (), None
    messages = fields.find("config.enhancement_messages")
    text = fields.text("config.enhancement_inputs")
    if messages is not None and text is not None:
        raise wrong("config.enhancement_inputs", "absent beside config.enhancement_messages")
    return () if messages is None else read_messages(messages), text
