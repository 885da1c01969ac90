"""The traps table of contract 3.3: what callers leave in a job without meaning it, line by line."""

import json

import pytest

from ourvidz_worker.admission import texts_of
from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.request import ImageRequest, Request, VideoRequest

URL = "https://storage.example/storage/v1/object/sign/user-library/u1/a.png?token=t"


def read(kind: str, /, **fields: object) -> Request:
    job = {"id": "j1", "type": kind, "user_id": "u1", "prompt": "a red fox", **fields}
    return read_job(json.dumps(job).encode(), limits=Limits()).request


def image(**fields: object) -> ImageRequest:
    request = read("sdxl_image_high", **fields)
    assert isinstance(request, ImageRequest)
    return request


def video(**fields: object) -> VideoRequest:
    request = read("video_fast", **fields)
    assert isinstance(request, VideoRequest)
    return request


def field_of_refusal(kind: str, /, **fields: object) -> str | None:
    with pytest.raises(RequestError) as caught:
        read(kind, **fields)
    return caught.value.field


def test_config_pipeline_is_ignored() -> None:
    """Trap `config.pipeline` (3.3, Q-30): a video with a reference carries `img2img`."""
    request = video(config={"pipeline": "img2img", "first_frame": URL})
    assert request.mode == "start"
    assert request.recorded.ignored_fields == ("config.pipeline",)
    assert video(config={"pipeline": "img2img"}).mode == "none"
    assert image(config={"pipeline": "img2img"}).mode == "none"


def test_denoise_strength_alone_makes_no_image_to_image() -> None:
    """Trap `config.denoise_strength` (3.3): present in plain jobs and in video jobs too."""
    plain = image(config={"denoise_strength": 0.2})
    assert (plain.mode, plain.reference, plain.strength) == ("none", None, None)
    clip = video(config={"denoise_strength": 0.2})
    assert (clip.mode, clip.conditioning_scale) == ("none", None)


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "video_fast", "image_fast"])
def test_reference_type_is_recorded_without_effect(kind: str) -> None:
    """Trap `metadata.reference_type` (3.3): always there, `style` by default."""
    request = read(kind, metadata={"reference_type": "style"})
    assert bytes(request.recorded.passed_through["reference_type"]) == b'"style"'
    assert getattr(request, "mode", None) == "none"


@pytest.mark.parametrize(
    "flags",
    [
        {"reference_mode": "modify"},
        {"reference_mode": "copy", "exact_copy_mode": True},
        {"reference_mode": "copy", "exact_copy_mode": "yes"},
    ],
)
def test_image_flags_on_a_video_are_ignored(flags: dict[str, object]) -> None:
    """Trap `metadata.reference_mode`, `metadata.exact_copy_mode` (3.3) on video jobs."""
    assert video(metadata=flags).mode == "none"
    assert video(metadata={**flags, "start_reference_url": URL}).mode == "start"
    assert video(metadata=flags).guidance == video().guidance


def test_image_flags_without_a_reference() -> None:
    """Trap `metadata.reference_mode`, `metadata.exact_copy_mode` (3.3) without a reference."""
    for mode in ("copy", "modify", "anything"):
        assert image(metadata={"reference_mode": mode}).mode == "none"
    assert image(metadata={"exact_copy_mode": False}).mode == "none"
    assert field_of_refusal("sdxl_image_fast", metadata={"exact_copy_mode": True}) == (
        "metadata.exact_copy_mode"
    )


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "video_fast", "image_fast"])
def test_null_is_absent(kind: str) -> None:
    """Trap `null` (3.3, Q-31): the same request as without the field."""
    nothing = read(kind)
    assert read(kind, config=None, metadata=None) == nothing
    nulls = {
        "reference_strength": None,
        "reference_image_url": None,
        "seed": None,
        "num_images": None,
    }
    frames = {"start_reference_url": None, "end_reference_url": None, "duration": None}
    assert read(kind, config=nulls, metadata={**nulls, **frames}, negative_prompt=None) == nothing


@pytest.mark.parametrize("text", ["{}", '{"steps": null}', " {} "])
def test_config_and_metadata_may_be_json_strings(text: str) -> None:
    """3.3: `config` and `metadata` as JSON strings are parsed."""
    assert image(config=text, metadata=text) == image()
    assert image(config='{"seed": 7, "steps": "30"}').seed == 7


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6])
def test_every_count_is_produced_exactly(count: int) -> None:
    """Trap `config.num_images` (3.3): 1 to 6 images."""
    assert image(config={"num_images": count}).count == count


def test_other_counts_are_refused() -> None:
    """Trap `config.num_images` (3.3): a video has one, and nothing else is guessed."""
    assert video(config={"num_images": 1}).frames == 81
    for kind, count in [("video_fast", 3), ("sdxl_image_fast", 0), ("sdxl_image_fast", 7)]:
        assert field_of_refusal(kind, config={"num_images": count}) == "config.num_images"


def test_leftovers_of_the_interface_are_not_read() -> None:
    """Trap `metadata.num_inference_steps`, `.guidance_scale`, `.originalSeed` (3.3)."""
    leftovers = {"num_inference_steps": 7, "guidance_scale": "x", "originalSeed": 5}
    assert image(metadata=leftovers) == image()
    assert video(metadata=leftovers) == video()


@pytest.mark.parametrize(
    ("resolution", "size"), [("1024x1024", (624, 624)), ("1024x576", (832, 480))]
)
def test_image_sizes_on_a_video_are_mapped(resolution: str, size: tuple[int, int]) -> None:
    """Trap `config.resolution` on video (3.3, 3.5)."""
    request = video(config={"resolution": resolution})
    assert (request.width, request.height) == size
    assert request.requested_size == resolution


@pytest.mark.parametrize(("duration", "frames"), [(5, 81), (10, 161)])
def test_the_duration_gives_the_length(duration: int, frames: int) -> None:
    """Trap `metadata.duration` (3.3): the only source of a video's length today."""
    assert video(metadata={"duration": duration}).frames == frames


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "video_fast"])
def test_an_empty_negative_prompt_is_a_text(kind: str) -> None:
    """Trap empty `negative_prompt` (3.3, P-1): the empty string, nothing added."""
    request = read(kind, negative_prompt="")
    assert isinstance(request, ImageRequest | VideoRequest)
    assert request.negative_prompt == ""


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "video_fast"])
def test_a_negative_prompt_in_metadata_is_not_read(kind: str) -> None:
    """3.3: `metadata.negative_prompt` MUST NOT be read."""
    assert read(kind, metadata={"negative_prompt": "x"}) == read(kind)


def test_config_overrides_no_internals() -> None:
    """Q-30: unknown keys of `config` have no effect and are listed."""
    config = {"bucket": "x", "path": "../y", "extension": "exe", "user_id": "u2", "type": "z"}
    request = image(config=config)
    assert set(request.recorded.ignored_fields) == {f"config.{key}" for key in config}
    assert request.job_type == "sdxl_image_high"


@pytest.mark.parametrize("value", [True, False])
@pytest.mark.parametrize(
    "key", ["steps", "guidance_scale", "seed", "width", "num_images", "denoise_strength"]
)
def test_booleans_are_no_numbers(key: str, value: bool) -> None:
    """H-5, Q-30: a boolean where a number belongs."""
    assert field_of_refusal("sdxl_image_fast", config={key: value}) == f"config.{key}"


def test_what_the_copy_button_really_sends_is_a_copy() -> None:
    """4.1: mode `modify`, denoise 0.05, guidance 1.0, 25 steps and some text."""
    request = image(
        config={"denoise_strength": 0.05, "guidance_scale": 1.0, "steps": 25},
        metadata={
            "reference_image_url": URL,
            "reference_mode": "modify",
            "exact_copy_mode": False,
            "reference_type": "style",
        },
    )
    assert (request.mode, request.copy_detected_by) == ("copy", "parameters")
    assert (request.strength, request.guidance, request.steps) == (0.05, 1.0, 25)


def test_the_old_copy_parameters_stay_as_they_are() -> None:
    """4.1, I-1: 15 × 0.06 is a modification and is not clamped."""
    request = image(
        config={"denoise_strength": 0.06, "steps": 15, "guidance_scale": 1.0},
        metadata={"reference_image_url": URL},
    )
    assert (request.mode, request.strength, request.steps) == ("modify", 0.06, 15)


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "video_fast", "chat_conversation"])
@pytest.mark.parametrize("flag", ["sfw_mode", "nsfw_enforce", "unrestricted_mode"])
def test_content_flags_change_no_request(kind: str, flag: str) -> None:
    """P-5: passed through and recorded, never an effect."""
    plain, flagged = read(kind), read(kind, **{flag: True})
    assert bytes(flagged.recorded.passed_through[flag]) == b"true"
    assert _without_record(flagged) == _without_record(plain)


@pytest.mark.parametrize("kind", ["sdxl_image_fast", "video_fast", "chat_conversation"])
def test_nothing_is_added_to_what_the_caller_wrote(kind: str) -> None:
    """P-1: no text of the worker's own in any request."""
    assert list(texts_of(read(kind))) == ["a red fox"]


def _without_record(request: Request) -> dict[str, object]:
    names = [name for name in request.__struct_fields__ if name != "recorded"]
    return {name: getattr(request, name) for name in names}
