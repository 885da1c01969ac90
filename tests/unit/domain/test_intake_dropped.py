"""A job read without its references is the same job as if none had been given (F-3)."""

import json

import pytest

from ourvidz_worker.domain.errors import InvalidPrompt, RequestError
from ourvidz_worker.domain.intake import Intake, Limits, read_job
from ourvidz_worker.domain.intake.dropped import REFERENCE_FIELDS
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.request import ImageRequest

PICTURE = "user-library/u1/a.png"


def read(kind: str, /, *, bare: bool = False, **fields: object) -> Intake:
    job = {"id": "j1", "type": kind, "user_id": "u1", "prompt": "a red fox", **fields}
    return read_job(json.dumps(job).encode(), limits=Limits(), with_references=not bare)


@pytest.mark.parametrize("kind", sorted(JOB_TYPES))
def test_a_job_without_references_reads_the_same_either_way(kind: str) -> None:
    assert read(kind, bare=True) == read(kind)


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "image_high", "video_fast"])
@pytest.mark.parametrize("field", REFERENCE_FIELDS)
def test_each_field_of_a_reference_is_dropped(kind: str, field: str) -> None:
    """F-3: neither executed nor listed as ignored."""
    level, dot, key = field.partition(".")
    value = True if key == "exact_copy_mode" else PICTURE
    job: dict[str, object] = {level: {key: value}} if dot else {level: value}
    if kind == "sdxl_image_fast" and key == "exact_copy_mode":
        job["reference_image_url"] = PICTURE
    found = read(kind, bare=True, **job)
    assert found.request == read(kind).request
    assert found.request.recorded.ignored_fields == ()


@pytest.mark.parametrize(
    ("kind", "fields", "mode"),
    [
        ("sdxl_image_fast", {"reference_image_url": PICTURE}, "modify"),
        (
            "sdxl_image_fast",
            {"metadata": {"reference_image_url": PICTURE, "exact_copy_mode": True}},
            "copy",
        ),
        ("video_fast", {"config": {"first_frame": PICTURE, "last_frame": PICTURE}}, "both"),
        ("video_fast", {"config": {"image": PICTURE}}, "single"),
        (
            "video_fast",
            {"metadata": {"start_reference_url": PICTURE, "video_reference_mode": "single"}},
            "single",
        ),
        ("video_fast", {"metadata": {"video_reference_mode": "end"}}, "end"),
        ("video_fast", {"metadata": {"video_reference_mode": "none"}}, "none"),
        ("chat_enhance", {}, "none"),
    ],
)
def test_what_the_caller_meant_is_remembered(
    kind: str, fields: dict[str, object], mode: str
) -> None:
    """F-3: `requested_reference_mode`."""
    assert read(kind, bare=True, **fields).asked_mode == mode


def test_what_belongs_to_a_copy_goes_with_its_reference() -> None:
    """4.1: guidance, strength and the negative prompt are the job's own again."""
    found = read(
        "sdxl_image_high",
        bare=True,
        metadata={"reference_image_url": PICTURE, "exact_copy_mode": True},
        negative_prompt="fog",
    ).request
    assert isinstance(found, ImageRequest)
    assert (found.guidance, found.strength, found.negative_prompt) == (7.5, None, "fog")
    assert found.recorded.differences == ()


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "video_fast"])
def test_without_a_prompt_there_is_nothing_left(kind: str) -> None:
    """F-2: such a job cannot fall back."""
    with pytest.raises(InvalidPrompt):
        read(kind, bare=True, prompt="", config={"image": PICTURE})


def test_a_job_that_is_wrong_otherwise_stays_wrong() -> None:
    with pytest.raises(RequestError) as caught:
        read("video_fast", bare=True, config={"image": PICTURE, "steps": 0})
    assert caught.value.field == "config.steps"
