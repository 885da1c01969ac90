"""Callbacks byte for byte (contract 7): every job type, every kind of end, as files."""

import json
from typing import Any

import pytest
from tests.contract.golden_bodies import FOLDER, bodies

from ourvidz_worker.domain.job_types import JOB_TYPES

BODIES = bodies()
FORBIDDEN = {
    "seed",
    "width",
    "height",
    "prompt",
    "destination",
    "character_id",
    "scene_id",
    "conversation_id",
    "bucket",
    "credits",
    "template_name",
    "reference_image_url",
}
EVERY_ASSET = {
    "asset_index",
    "file_size_bytes",
    "format",
    "width",
    "height",
    "seed",
    "generation_seed",
    "steps",
    "num_inference_steps",
    "effective_steps",
    "guidance_scale",
    "pipeline",
    "negative_prompt_used",
}
EVERY_JOB = {
    "job_type",
    "worker_type",
    "model_name",
    "processing_time",
    "generation_time",
    "load_time",
    "queue_wait",
    "attempts",
    "fallback_used",
    "fallback_reason",
    "enhancement_source",
    "enhancement_applied",
    "unrestricted_mode",
    "prompt_truncated",
    "oom_retry",
    "warnings",
    "ignored_fields",
}


def told(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(BODIES[name])
    return found


def completed() -> list[str]:
    return [name for name in BODIES if told(name)["status"] == "completed"]


def failed() -> list[str]:
    return [name for name in BODIES if told(name)["status"] == "failed"]


@pytest.mark.parametrize("name", sorted(BODIES))
def test_the_bytes_are_those_of_the_file(name: str) -> None:
    """7.1: and what `golden_bodies` writes is what is told."""
    assert BODIES[name] == (FOLDER / f"{name}.json").read_bytes()


def test_every_file_is_told_and_every_job_type_has_one() -> None:
    """7: nothing is left over."""
    assert {file.stem for file in FOLDER.glob("*.json")} == set(BODIES)
    assert set(JOB_TYPES) <= set(BODIES)


@pytest.mark.parametrize("name", sorted(BODIES))
def test_a_body_has_the_fields_of_its_state_and_no_other(name: str) -> None:
    """7.1: three states; `completedAt` and `metadata` in the last ones alone; no user."""
    body = told(name)
    head = ["job_id", "worker_id", "status", "assets", "error_message"]
    last = ["completedAt", "metadata"]
    expected = head if name == "processing" else head + last
    expected = [*head, "metadata"] if name == "progress" else expected
    assert list(body) == expected
    assert body["status"] in {"processing", "completed", "failed"}
    assert "userId" not in BODIES[name].decode()
    assert bool(body["assets"]) is (body["status"] == "completed")
    assert len(BODIES[name]) < 20_000


@pytest.mark.parametrize("name", completed())
def test_nothing_overwrites_the_clients_own(name: str) -> None:
    """K-1: neither forbidden keys nor what differs between assets."""
    body = told(name)
    assert not FORBIDDEN & set(body["metadata"])
    assert set(body["metadata"]) >= EVERY_JOB


@pytest.mark.parametrize("name", completed())
def test_an_asset_says_what_its_file_is(name: str) -> None:
    """7.2: every field of the table."""
    for index, asset in enumerate(told(name)["assets"]):
        metadata = asset["metadata"]
        assert metadata["asset_index"] == index
        if asset["type"] == "text":
            assert set(asset) == {"type", "text", "metadata"}
            continue
        assert set(metadata) >= EVERY_ASSET
        conditioned = metadata["pipeline"].startswith("img2")
        assert ("denoise_strength" in metadata) is conditioned
        assert ("resize_policy" in metadata) is conditioned
        assert asset["url"].endswith({"image": ".png", "video": ".mp4"}[asset["type"]])
        if asset["type"] == "video":
            assert set(metadata) >= {"frame_num", "fps", "duration_seconds", "codec"}
            assert set(metadata) >= {"sample_solver", "sample_shift"}
        else:
            assert metadata["batch_size"] == len(told(name)["assets"])


@pytest.mark.parametrize("name", failed())
def test_a_failure_says_what_the_client_shows_and_no_more(name: str) -> None:
    """K-3, 7.1: one short sentence, and the codes."""
    body = told(name)
    assert isinstance(body["error_message"], str)
    assert 0 < len(body["error_message"]) <= 200
    metadata = body["metadata"]
    assert metadata["error_type"] == metadata["error_code"]
    assert set(metadata) - {"error_reason"} == {
        "error_type",
        "error_code",
        "retryable",
        "stage",
        "job_type",
        "attempts",
        "timestamp",
    }
    for sign in ("/", "http", "_", "Traceback"):
        assert sign not in body["error_message"]


def test_the_stage_of_each_failure() -> None:
    """K-3: in the contract's words."""
    stages = {name.removeprefix("failed_"): told(name)["metadata"]["stage"] for name in failed()}
    assert stages == {
        "invalid_request": "validate",
        "invalid_prompt": "validate",
        "refused": "admission",
        "reference_expired": "reference",
        "reference_timeout": "reference",
        "image_pipeline": "generate",
        "memory": "generate",
        "load": "load",
        "generation": "generate",
        "deadline": "generate",
        "worker": "generate",
        "upload": "upload",
    }


def test_a_text_is_told_under_its_types_own_name() -> None:
    """J-1, 3.6."""
    assert told("chat_enhance")["metadata"]["enhanced_prompt"] == "A red fox, resting."
    assert told("chat_conversation")["metadata"]["response"] == "A red fox, resting."
    assert told("chat_unrestricted")["metadata"]["unrestricted_mode"] is True
    assert told("admin_utilities")["metadata"]["result"] == {"status": "healthy"}


@pytest.mark.parametrize(
    ("name", "pipeline", "ran"),
    [("image_fallback", "txt2img", "img2img"), ("video_fallback", "txt2video", "img2video")],
)
def test_a_fallback_is_told(name: str, pipeline: str, ran: str) -> None:
    """F-3: in the job's and in the asset's metadata."""
    metadata, asset = told(name)["metadata"], told(name)["assets"][0]["metadata"]
    assert (metadata["fallback_from"], metadata["fallback_to"]) == (ran, pipeline)
    assert metadata["reference_mode"] == "none"
    assert asset["pipeline"] == pipeline
    assert not {"denoise_strength", "resize_policy"} & (set(asset) | set(metadata))


@pytest.mark.parametrize(
    ("name", "mode", "is_copy", "by", "denoise", "guidance"),
    [
        ("image_modify", "modify", False, None, 0.4, 7.5),
        ("image_copy_button", "copy", True, "parameters", 0.05, 1.0),
        ("image_copy_flag", "copy", True, "flag", 0.05, 1.0),
    ],
)
def test_what_a_reference_led_to_is_told(
    name: str, mode: str, is_copy: bool, by: str | None, denoise: float, guidance: float
) -> None:
    """I-2: the effective values, the mode, and how a copy was recognised."""
    metadata = told(name)["metadata"]
    assert (metadata["reference_mode"], metadata["exact_copy_mode"]) == (mode, is_copy)
    assert metadata.get("copy_detected_by") == by
    assert (metadata["denoise_strength"], metadata["guidance_scale"]) == (denoise, guidance)
    assert metadata["steps"] == metadata["num_inference_steps"]


def test_the_number_of_frames_stays_the_truth() -> None:
    """K-2: 81, whatever length a client shows for it."""
    metadata, asset = told("video_fast")["metadata"], told("video_fast")["assets"][0]["metadata"]
    assert (metadata["frame_num"], asset["frame_num"]) == (81, 81)
    assert asset["duration_seconds"] == 81 / 16
