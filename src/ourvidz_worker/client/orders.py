"""From the client's words to the contract's job object (3.3 to 3.6, 4 and 5)."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

DEFAULT_USER = "local"
"""Who asks, when nobody is named: one person at their own machine."""


class JobOptions(TypedDict, total=False):
    """What may be asked of a job beside its type and prompt; what is left out is not sent.

    `size` is `WxH` in pixels, `duration` seconds, `strength` 0..1 how far the result may leave
    its reference. References are keys or addresses the pod knows, or files here, which are stored
    first. `config` and `metadata` go into the job's own objects; `base` is a whole job object
    that everything else is laid over.
    """

    job_id: str
    user_id: str
    negative: str
    steps: int
    guidance: float
    size: str
    seed: int
    count: int
    frames: int
    duration: float
    strength: float
    reference: str | Path
    first: str | Path
    last: str | Path
    messages: Sequence[Mapping[str, str]]
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    base: Mapping[str, Any]


ID_ALIASES = ("job_id", "jobId")

#: Option to its place in the job object.
_PLACES: dict[str, tuple[str, ...]] = {
    "job_id": ("id",),
    "user_id": ("user_id",),
    "negative": ("negative_prompt",),
    "messages": ("messages",),
    "steps": ("config", "num_inference_steps"),
    "guidance": ("config", "guidance_scale"),
    "size": ("config", "size"),
    "seed": ("config", "seed"),
    "count": ("config", "num_images"),
    "frames": ("config", "frame_num"),
    "duration": ("metadata", "duration"),
    "strength": ("config", "denoise_strength"),
    "first": ("config", "first_frame"),
    "last": ("config", "last_frame"),
}

_REFERENCES = ("reference", "first", "last")


def new_job(job_type: str, prompt: str | None, options: JobOptions) -> dict[str, Any]:
    """The job object to send; every reference must be a key or an address by now."""
    job: dict[str, Any] = copy.deepcopy(dict(options.get("base", {})))
    job["type"] = job_type
    if "job_id" in options:
        job = {name: value for name, value in job.items() if name not in ID_ALIASES}
    if "userId" not in job:
        job.setdefault("user_id", DEFAULT_USER)
    if prompt is not None:
        job["prompt"] = prompt
    job["config"] = {**(job.get("config") or {}), **options.get("config", {})}
    job["metadata"] = {**(job.get("metadata") or {}), **options.get("metadata", {})}
    for option, value in options.items():
        if option in _PLACES:
            _put(job, _PLACES[option], value)
    if "reference" in options:
        _put(job, _reference_place(job_type), options["reference"])
    return job


def owner_of(job: Mapping[str, Any]) -> str:
    """Whose job it is, under either name."""
    return str(job.get("user_id") or job["userId"])


def pictures(options: JobOptions) -> dict[str, Path]:
    """The references that are files here and must be stored at the pod first."""
    found: dict[str, Path] = {}
    for name in _REFERENCES:
        value = options.get(name)
        if isinstance(value, Path):
            found[name] = value
    return found


def with_references(options: JobOptions, keys: Mapping[str, str]) -> JobOptions:
    """The same options with the stored pictures named by their keys."""
    named = options.copy()
    if "reference" in keys:
        named["reference"] = keys["reference"]
    if "first" in keys:
        named["first"] = keys["first"]
    if "last" in keys:
        named["last"] = keys["last"]
    return named


def _reference_place(job_type: str) -> tuple[str, str]:
    if job_type.startswith("sdxl"):
        return ("metadata", "reference_image_url")
    return ("config", "image")


def _put(job: dict[str, Any], place: tuple[str, ...], value: object) -> None:
    if len(place) == 1:
        job[place[0]] = value
    else:
        job[place[0]][place[1]] = value
