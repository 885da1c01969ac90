"""Image jobs: aliases, sizes, counts, weights, and how a copy is recognised (contract 3.4, 4.1)."""

import json

import pytest

from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.request import ImageRequest

REFERENCE = "user-library/u1/a.png"


def read(**fields: object) -> ImageRequest:
    job = {"id": "j1", "type": "sdxl_image_fast", "user_id": "u1", "prompt": "a red fox", **fields}
    request = read_job(json.dumps(job).encode(), limits=Limits()).request
    assert isinstance(request, ImageRequest)
    return request


def field_of_refusal(**fields: object) -> str | None:
    with pytest.raises(RequestError) as caught:
        read(**fields)
    assert caught.value.code == "INVALID_REQUEST"
    return caught.value.field


def with_reference(config: object = None, **metadata: object) -> ImageRequest:
    return read(config=config, metadata={"reference_image_url": REFERENCE, **metadata})


@pytest.mark.parametrize(
    ("name", "steps", "guidance"), [("sdxl_image_fast", 15, 6.0), ("sdxl_image_high", 25, 7.5)]
)
def test_the_defaults_of_each_type(name: str, steps: int, guidance: float) -> None:
    request = read(type=name)
    assert (request.steps, request.guidance) == (steps, guidance)
    assert (request.width, request.height, request.count) == (1024, 1024, 1)
    assert (request.seed, request.negative_prompt, request.scheduler) == (None, None, None)
    assert (request.mode, request.strength, request.reference) == ("none", None, None)
    assert request.recorded.ignored_fields == ()


@pytest.mark.parametrize(
    ("names", "key"),
    [
        (["config.num_inference_steps", "config.steps", "config.sample_steps"], "steps"),
        (["config.guidance_scale", "config.cfg", "config.sample_guide_scale"], "guidance"),
        (["config.num_images", "config.batch_size"], "count"),
    ],
)
def test_aliases_by_precedence(names: list[str], key: str) -> None:
    keys = [name.removeprefix("config.") for name in names]
    for place, name in enumerate(keys):
        later = dict.fromkeys(keys[place + 1 :], 3)
        request = read(config={name: "2", **later})
        assert getattr(request, key) == 2
        assert request.recorded.ignored_fields == tuple(f"config.{other}" for other in later)


@pytest.mark.parametrize(
    ("key", "good", "bad", "field"),
    [
        ("steps", [1, 100, "50"], [0, 101, -1, 1.5, True, "many"], "config.steps"),
        ("num_inference_steps", [1], [0, "x"], "config.steps"),
        ("guidance_scale", [0, 30, "7.5"], [-0.1, 30.1, True, "x"], "config.guidance_scale"),
        ("denoise_strength", [0, 1, "0.5"], [-0.1, 1.1, True], "config.denoise_strength"),
        ("reference_strength", [0, 1, None], [-0.1, 2, "x"], "config.reference_strength"),
        ("num_images", [1, 2, 3, 4, 5, 6, "6"], [0, 7, -1, 2.5, True], "config.num_images"),
        ("scheduler", ["euler", "dpm++", "unipc", None], ["ddim", "", 3], "config.scheduler"),
        ("resize_policy", ["letterbox", "stretch"], ["fill", 1], "config.resize_policy"),
    ],
)
def test_bounds(key: str, good: list[object], bad: list[object], field: str) -> None:
    for value in good:
        assert read(config={key: value}).prompt == "a red fox"
    for value in bad:
        assert field_of_refusal(config={key: value}) == field


@pytest.mark.parametrize(
    ("config", "size"),
    [
        ({"width": 1024, "height": 576}, (1024, 576)),
        ({"width": "576", "height": "1024"}, (576, 1024)),
        ({"resolution": "1024x576"}, (1024, 576)),
        ({"resolution": "1024*576"}, (1024, 576)),
        ({"size": "576x1024"}, (576, 1024)),
        ({"size": " 576 X 1024 "}, (576, 1024)),
        ({"resolution": "512x512", "size": "640x640"}, (512, 512)),
        ({"width": 256, "height": 256, "resolution": "1080p"}, (256, 256)),
        ({"width": 1536, "height": 1536}, (1536, 1536)),
        ({"resolution": ""}, (1024, 1024)),
    ],
)
def test_sizes(config: dict[str, object], size: tuple[int, int]) -> None:
    request = read(config=config)
    assert (request.width, request.height) == size
    assert request.recorded.ignored_fields == ()


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"width": 1024}, "config.height"),
        ({"height": 1024}, "config.width"),
        ({"width": 1000, "height": 1025}, "config.height"),
        ({"width": 250, "height": 512}, "config.width"),
        ({"width": 2048, "height": 512}, "config.width"),
        ({"width": 0, "height": 512}, "config.width"),
        ({"width": True, "height": 512}, "config.width"),
        ({"resolution": "1080p"}, "config.resolution"),
        ({"resolution": 1024}, "config.resolution"),
        ({"resolution": "1023x1024"}, "config.resolution"),
        ({"size": "999999x1"}, "config.size"),
        ({"size": "-512x512"}, "config.size"),
    ],
)
def test_wrong_sizes(config: dict[str, object], field: str) -> None:
    assert field_of_refusal(config=config) == field


@pytest.mark.parametrize(
    "fields",
    [
        {"metadata": {"reference_image_url": REFERENCE}},
        {"config": {"reference_image_url": REFERENCE}},
        {"config": {"image": REFERENCE}},
        {"reference_image_url": REFERENCE},
        {"metadata": {"reference_image_url": ""}, "config": {"image": REFERENCE}},
    ],
)
def test_every_name_of_the_reference(fields: dict[str, object]) -> None:
    request = read(**fields)
    assert (request.reference, request.mode, request.strength) == (REFERENCE, "modify", 0.20)


@pytest.mark.parametrize("value", [None, ""])
def test_an_empty_reference_is_none(value: object) -> None:
    request = read(metadata={"reference_image_url": value})
    assert (request.reference, request.mode) == (None, "none")


def test_a_reference_is_a_text() -> None:
    assert field_of_refusal(metadata={"reference_image_url": {"url": "x"}}) == (
        "metadata.reference_image_url"
    )


@pytest.mark.parametrize(
    ("config", "metadata", "strength"),
    [
        ({"denoise_strength": 0.3}, {"denoise_strength": 0.5}, 0.3),
        ({}, {"denoise_strength": 0.5}, 0.5),
        ({"reference_strength": 0.8}, {}, 0.2),
        ({}, {"reference_strength": 0.9}, 0.1),
        ({"denoise_strength": 0.6, "reference_strength": 0.9}, {}, 0.6),
        ({"reference_strength": None}, {}, 0.2),
        ({"denoise_strength": 0}, {}, 0.0),
        ({"denoise_strength": 1}, {}, 1.0),
        ({"denoise_strength": 0.06, "steps": 15}, {}, 0.06),
    ],
)
def test_how_far_a_modification_may_go(
    config: dict[str, object], metadata: dict[str, object], strength: float
) -> None:
    guided = {"guidance_scale": 6, **config}
    request = with_reference(guided, **metadata)
    assert (request.mode, request.strength, request.guidance) == ("modify", strength, 6.0)
    assert request.copy_detected_by is None


@pytest.mark.parametrize(
    ("config", "metadata", "detected_by"),
    [
        ({}, {"exact_copy_mode": True}, "flag"),
        ({}, {"exact_copy_mode": True, "reference_mode": "copy"}, "flag"),
        ({}, {"reference_mode": "copy"}, "mode"),
        ({"denoise_strength": 0.05, "guidance_scale": 1.0}, {}, "parameters"),
        ({"denoise_strength": 0.05}, {}, "parameters"),
        ({"reference_strength": 0.95}, {}, "parameters"),
        ({"denoise_strength": 0, "cfg": 0.5}, {"exact_copy_mode": False}, "parameters"),
    ],
)
def test_how_a_copy_is_recognised(
    config: dict[str, object], metadata: dict[str, object], detected_by: str
) -> None:
    request = with_reference(config, **metadata)
    assert (request.mode, request.copy_detected_by) == ("copy", detected_by)
    assert request.strength is not None
    assert request.strength <= 0.05
    assert (request.guidance, request.negative_prompt) == (1.0, None)


@pytest.mark.parametrize(
    ("config", "metadata"),
    [
        ({"denoise_strength": 0.05, "guidance_scale": 1.1}, {}),
        ({"denoise_strength": 0.06, "guidance_scale": 1.0}, {}),
        ({}, {}),
        ({}, {"reference_mode": "modify"}),
        ({}, {"exact_copy_mode": False}),
        ({}, {"exact_copy_mode": None, "reference_mode": None}),
    ],
)
def test_what_is_no_copy(config: dict[str, object], metadata: dict[str, object]) -> None:
    assert with_reference(config, **metadata).mode == "modify"


def test_a_copy_says_what_it_executes_otherwise_than_asked() -> None:
    config = {"denoise_strength": 0.4, "guidance_scale": 7.5, "steps": 30}
    request = read(
        config=config,
        negative_prompt="fog",
        prompt="",
        metadata={"reference_image_url": REFERENCE, "exact_copy_mode": True},
    )
    assert (request.strength, request.guidance, request.steps) == (0.05, 1.0, 30)
    differences = {
        one.parameter: (one.requested, one.effective) for one in request.recorded.differences
    }
    assert differences == {
        "guidance_scale": ("7.5", "1"),
        "denoise_strength": ("0.4", "0.05"),
        "negative_prompt": ("given", "none"),
    }


def test_a_copy_keeps_a_smaller_denoise() -> None:
    request = with_reference({"denoise_strength": 0.01}, exact_copy_mode=True)
    assert request.strength == 0.01
    assert request.recorded.differences == ()


def test_weights_are_read_from_the_top_then_from_metadata() -> None:
    request = read(compel_enabled=True, compel_weights="(sharp:1.2)")
    assert (request.weighting, request.weights) == (True, "(sharp:1.2)")
    request = read(metadata={"compel_enabled": True, "compel_weights": "x++"})
    assert (request.weighting, request.weights) == (True, "x++")
    request = read(compel_enabled=False, metadata={"compel_enabled": True}, compel_weights=None)
    assert (request.weighting, request.weights) == (False, "")
    assert field_of_refusal(compel_enabled="yes") == "compel_enabled"
    assert field_of_refusal(compel_weights=["x"]) == "compel_weights"


def test_the_prompt_is_never_touched_by_weights() -> None:
    assert read(prompt="(fox:1.3)", compel_enabled=True, compel_weights="a").prompt == "(fox:1.3)"
