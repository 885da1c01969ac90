"""Wan jobs: frames, sizes, solver, and the mode that follows from the pictures (3.5 and 5)."""

import json

import pytest

from ourvidz_worker.domain.errors import BadReference, InvalidPrompt, RequestError
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.request import VideoRequest

FIRST, LAST, IMAGE = (f"user-library/u1/{name}.png" for name in ("first", "last", "image"))


def read(limits: Limits | None = None, /, **fields: object) -> VideoRequest:
    job = {"id": "j1", "type": "video_fast", "user_id": "u1", "prompt": "waves", **fields}
    request = read_job(json.dumps(job).encode(), limits=limits or Limits()).request
    assert isinstance(request, VideoRequest)
    return request


def field_of_refusal(**fields: object) -> str | None:
    with pytest.raises(RequestError) as caught:
        read(**fields)
    assert caught.value.code == "INVALID_REQUEST"
    return caught.value.field


@pytest.mark.parametrize(
    ("name", "steps", "guidance", "frames"),
    [
        ("image_fast", 25, 6.5, 1),
        ("image7b_fast_enhanced", 25, 6.5, 1),
        ("image_high", 50, 7.5, 1),
        ("image7b_high_enhanced", 50, 7.5, 1),
        ("video_fast", 25, 6.5, 81),
        ("video7b_fast_enhanced", 25, 6.5, 81),
        ("video_high", 50, 7.5, 81),
        ("video7b_high_enhanced", 50, 7.5, 81),
    ],
)
def test_the_defaults_of_each_type(name: str, steps: int, guidance: float, frames: int) -> None:
    request = read(type=name)
    assert (request.steps, request.guidance, request.frames) == (steps, guidance, frames)
    assert (request.width, request.height) == (480, 832)
    assert (request.solver, request.shift) == ("dpm++", 5.0)
    assert (request.mode, request.conditioning_scale, request.strength) == ("none", None, 0.20)
    assert (request.requested_size, request.requested_frames) == (None, None)
    assert request.negative_prompt is None


@pytest.mark.parametrize(
    ("asked", "frames"),
    [(5, 5), (8, 5), (9, 9), (81, 81), (83, 81), (84, 81), (85, 85), (161, 161), ("83", 81)],
)
def test_frames_are_mapped_to_4k_and_1(asked: object, frames: int) -> None:
    request = read(config={"frame_num": asked})
    assert (request.frames, request.requested_frames) == (frames, int(str(asked)))


@pytest.mark.parametrize(
    ("fields", "frames"),
    [
        ({"config": {"frames": 21}}, 21),
        ({"config": {"num_frames": 21}}, 21),
        ({"frames": 21}, 21),
        ({"num_frames": 21}, 21),
        ({"config": {"frame_num": 21}, "metadata": {"duration": 10}}, 21),
        ({"metadata": {"duration": 5}}, 81),
        ({"metadata": {"duration": 10}}, 161),
        ({"metadata": {"duration": "5"}}, 81),
        ({"metadata": {"duration": 1.3}}, 21),
        ({"metadata": {"duration": 1}}, 17),
        ({"metadata": {"duration": None}}, 81),
    ],
)
def test_where_the_length_comes_from(fields: dict[str, object], frames: int) -> None:
    assert read(**fields).frames == frames


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"config": {"frame_num": 4}}, "config.frame_num"),
        ({"config": {"frame_num": 165}}, "config.frame_num"),
        ({"config": {"frame_num": 0}}, "config.frame_num"),
        ({"config": {"frame_num": True}}, "config.frame_num"),
        ({"config": {"frame_num": 10**30}}, "config.frame_num"),
        ({"config": {"num_frames": 3}}, "config.num_frames"),
        ({"frames": 1000}, "frames"),
        ({"metadata": {"duration": 0}}, "metadata.duration"),
        ({"metadata": {"duration": 0.5}}, None),
        ({"metadata": {"duration": 11}}, "metadata.duration"),
        ({"metadata": {"duration": 1e300}}, "metadata.duration"),
        ({"metadata": {"duration": "long"}}, "metadata.duration"),
    ],
)
def test_lengths_outside_are_refused_and_never_shortened(
    fields: dict[str, object], field: str | None
) -> None:
    if field is None:
        assert read(**fields).frames == 9
    else:
        assert field_of_refusal(**fields) == field


def test_the_pods_own_limit_counts() -> None:
    assert read(Limits(max_frames=17), config={"frame_num": 17}).frames == 17
    for fields in ({"config": {"frame_num": 21}}, {}):
        with pytest.raises(RequestError, match="5 to 17 frames"):
            read(Limits(max_frames=17), **fields)


@pytest.mark.parametrize(
    ("fields", "size", "asked"),
    [
        ({"config": {"size": "832*480"}}, (832, 480), "832x480"),
        ({"config": {"width": 480, "height": 832}}, (480, 832), "480x832"),
        ({"width": 256, "height": 256}, (256, 256), "256x256"),
        ({"config": {"resolution": "1024x576"}}, (832, 480), "1024x576"),
        ({"config": {"resolution": "576x1024"}}, (480, 832), "576x1024"),
        ({"config": {"resolution": "1024x1024"}}, (624, 624), "1024x1024"),
        ({"config": {"resolution": "500x500"}}, (624, 624), "500x500"),
        ({"metadata": {"aspect_ratio": "16:9"}}, (832, 480), "16:9"),
        ({"metadata": {"aspect_ratio": "9:16"}}, (480, 832), "9:16"),
        ({"metadata": {"aspect_ratio": "1:1"}}, (624, 624), "1:1"),
        ({"metadata": {"aspect_ratio": ""}}, (480, 832), None),
        (
            {"config": {"size": "480x832"}, "metadata": {"aspect_ratio": "16:9"}},
            (480, 832),
            "480x832",
        ),
    ],
)
def test_sizes_are_exact_or_the_nearest_aspect(
    fields: dict[str, object], size: tuple[int, int], asked: str | None
) -> None:
    request = read(**fields)
    assert (request.width, request.height) == size
    assert request.requested_size == asked


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"config": {"size": "big"}}, "config.size"),
        ({"config": {"size": 480}}, "config.size"),
        ({"config": {"width": 480}}, "config.height"),
        ({"width": 480}, "height"),
        ({"metadata": {"aspect_ratio": "wide"}}, "metadata.aspect_ratio"),
        ({"metadata": {"aspect_ratio": "0:1"}}, "metadata.aspect_ratio"),
    ],
)
def test_wrong_sizes(fields: dict[str, object], field: str) -> None:
    assert field_of_refusal(**fields) == field


def test_the_callers_parameters_take_effect() -> None:
    request = read(
        negative_prompt="fog",
        config={
            "sample_steps": 30,
            "sample_guide_scale": 4.5,
            "sample_solver": "unipc",
            "sample_shift": 8,
            "seed": 0,
        },
    )
    assert (request.steps, request.guidance, request.seed) == (30, 4.5, 0)
    assert (request.solver, request.shift, request.negative_prompt) == ("unipc", 8.0, "fog")


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"sample_solver": "euler"}, "config.sample_solver"),
        ({"sample_solver": ""}, "config.sample_solver"),
        ({"sample_shift": 0}, "config.sample_shift"),
        ({"sample_shift": 20.1}, "config.sample_shift"),
        ({"steps": 101}, "config.steps"),
        ({"guidance_scale": 31}, "config.guidance_scale"),
        ({"single_mode": "both"}, "config.single_mode"),
        ({"conditioning_scale": 2.1}, "config.conditioning_scale"),
    ],
)
def test_bounds(config: dict[str, object], field: str) -> None:
    assert field_of_refusal(config=config) == field


@pytest.mark.parametrize("value", [16, "16", 16.0, None])
def test_the_one_frame_rate(value: object) -> None:
    assert read(config={"fps": value}).recorded.ignored_fields == ()


@pytest.mark.parametrize("value", [24, "fast", True])
def test_another_frame_rate_is_ignored_openly(value: object) -> None:
    assert read(config={"fps": value}).recorded.ignored_fields == ("config.fps",)


@pytest.mark.parametrize(
    ("config", "metadata", "mode", "used"),
    [
        ({}, {}, "none", (None, None, None)),
        ({"first_frame": FIRST}, {}, "start", (FIRST, None, None)),
        ({}, {"start_reference_url": FIRST}, "start", (FIRST, None, None)),
        ({"last_frame": LAST}, {}, "end", (None, LAST, None)),
        ({}, {"end_reference_url": LAST}, "end", (None, LAST, None)),
        ({"first_frame": FIRST}, {"end_reference_url": LAST}, "both", (FIRST, LAST, None)),
        ({"image": IMAGE}, {}, "single", (None, None, IMAGE)),
        ({}, {"reference_image_url": IMAGE}, "single", (None, None, IMAGE)),
        ({}, {"start_reference_url": None, "end_reference_url": ""}, "none", (None, None, None)),
        (
            {"first_frame": ""},
            {"start_reference_url": FIRST},
            "start",
            (FIRST, None, None),
        ),
    ],
)
def test_the_mode_follows_from_the_pictures(
    config: dict[str, object],
    metadata: dict[str, object],
    mode: str,
    used: tuple[str | None, ...],
) -> None:
    request = read(config=config, metadata=metadata)
    assert request.mode == mode
    assert (request.first, request.last, request.image) == used


def test_an_image_beside_a_frame_is_ignored_openly() -> None:
    request = read(config={"first_frame": FIRST}, metadata={"reference_image_url": IMAGE})
    assert (request.mode, request.image) == ("start", None)
    assert request.recorded.ignored_fields == ("metadata.reference_image_url",)


@pytest.mark.parametrize("level", ["metadata.video_reference_mode", "config.reference_mode"])
@pytest.mark.parametrize(
    ("named", "given"),
    [
        ("start", {}),
        ("end", {"first_frame": FIRST}),
        ("both", {"first_frame": FIRST}),
        ("both", {"last_frame": LAST}),
        ("single", {}),
    ],
)
def test_a_named_frame_without_a_picture_is_missing(
    level: str, named: str, given: dict[str, object]
) -> None:
    group, key = level.split(".")
    fields: dict[str, dict[str, object]] = {"config": dict(given), "metadata": {}}
    fields[group][key] = named
    with pytest.raises(BadReference) as caught:
        read(**fields)
    assert (caught.value.reason, caught.value.field) == ("REFERENCE_MISSING", level)


@pytest.mark.parametrize(
    ("named", "warned"), [("start", False), ("none", True), ("anything", True), (None, False)]
)
def test_otherwise_the_pictures_win_with_a_warning(named: str | None, warned: bool) -> None:
    request = read(config={"first_frame": FIRST}, metadata={"video_reference_mode": named})
    assert request.mode == "start"
    assert bool(request.recorded.warnings) is warned


def test_a_named_mode_is_a_text() -> None:
    assert field_of_refusal(config={"reference_mode": 3}) == "config.reference_mode"


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 1.0),
        ({"denoise_strength": 0.2}, 1.0),
        ({"denoise_strength": 0.6}, 0.5),
        ({"denoise_strength": 1}, 0.0),
        ({"reference_strength": 0.4}, 0.5),
        ({"conditioning_scale": 1.5}, 1.5),
        ({"conditioning_scale": 0}, 0.0),
    ],
)
def test_the_conditioning_scale(config: dict[str, object], scale: float) -> None:
    request = read(config={"first_frame": FIRST, **config})
    assert request.conditioning_scale == scale
    assert request.guidance == 6.5


@pytest.mark.parametrize(
    ("fields", "mode"),
    [({}, "pinned"), ({"config": {"single_mode": "subject"}}, "subject")],
)
def test_how_a_single_picture_is_used(fields: dict[str, object], mode: str) -> None:
    assert read(**fields, metadata={"reference_image_url": IMAGE}).single_mode == mode


def test_a_still_takes_a_picture_as_its_subject_alone() -> None:
    request = read(type="image_fast", config={"image": IMAGE, "single_mode": "pinned"})
    assert (request.mode, request.single_mode, request.frames) == ("single", "subject", 1)
    for name in ("first_frame", "last_frame"):
        with pytest.raises(BadReference) as caught:
            read(type="image_fast", config={name: FIRST})
        assert (caught.value.reason, caught.value.field) == (
            "REFERENCE_UNSUPPORTED",
            f"config.{name}",
        )


def test_a_still_has_one_frame_whatever_is_asked() -> None:
    request = read(type="image_high", config={"frame_num": 83}, metadata={"duration": 5})
    assert (request.frames, request.requested_frames) == (1, None)
    assert request.recorded.ignored_fields == ("config.frame_num",)


def test_an_empty_prompt_needs_a_picture() -> None:
    assert read(prompt="", config={"first_frame": FIRST}).prompt == ""
    with pytest.raises(InvalidPrompt):
        read(prompt="")


def test_the_callers_own_instructions_for_an_extended_prompt() -> None:
    turns = [{"role": "system", "content": "s"}, {"role": "user", "content": ""}]
    enhanced = "video7b_fast_enhanced"
    request = read(type=enhanced, config={"enhancement_messages": turns})
    assert [(m.role, m.content) for m in request.enhancement_messages] == [
        ("system", "s"),
        ("user", ""),
    ]
    request = read(type=enhanced, config={"enhancement_inputs": "Once"})
    assert (request.enhancement_text, request.enhancement_messages) == ("Once", ())
    both = {"enhancement_inputs": "Once", "enhancement_messages": turns}
    assert field_of_refusal(type=enhanced, config=both) == "config.enhancement_inputs"
    plain = read(config={"enhancement_inputs": "Once"})
    assert plain.enhancement_text is None
    assert plain.recorded.ignored_fields == ("config.enhancement_inputs",)
