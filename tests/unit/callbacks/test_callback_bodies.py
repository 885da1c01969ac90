"""The bodies of callbacks, key by key (contract 7.1 to 7.3, F-3, J-1, K-1, K-3)."""

import json
from typing import Any

import msgspec
import pytest

from ourvidz_worker.callbacks import Done, completed_body, failed_body, processing_body
from ourvidz_worker.callbacks.body import shorten
from ourvidz_worker.domain.artifact import Asset, Metadata
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.receipt import Difference, Receipt

AT = 1_769_860_800.0
REFERENCE = "user-library/u1/a.png"
NEVER = {
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


def picture(index: int, **metadata: str | float | bool | None) -> Asset:
    return Asset(
        index=index,
        media=Media.IMAGE,
        key=f"u1/j1/{index}.png",
        thumbnail_key=f"u1/j1/{index}.thumb.webp",
        media_type="image/png",
        size_bytes=1000 + index,
        metadata={"width": 1024, "height": 1024, "seed": 7 + index, **metadata},
    )


CLIP = Asset(
    index=0,
    media=Media.VIDEO,
    key="u1/j1/0.mp4",
    media_type="video/mp4",
    size_bytes=9000,
    metadata={
        "width": 480,
        "height": 832,
        "seed": 7,
        "frame_num": 81,
        "fps": 16,
        "duration_seconds": 5.0625,
        "codec": "h264",
    },
)


def done(
    assets: tuple[Asset, ...],
    *,
    facts: Metadata | None = None,
    receipt: Receipt | None = None,
    **fields: object,
) -> Done:
    job = {"id": "j1", "user_id": "u1", "prompt": "a red fox", "type": "sdxl_image_fast", **fields}
    return Done(
        job_id="j1",
        request=read_job(json.dumps(job).encode(), limits=Limits()).request,
        assets=assets,
        receipt=receipt or Receipt(model="checkpoint", effective={"steps": 15}),
        facts=facts or {},
        seed=7,
    )


def told(of: Done, *, bucket_prefix: bool = False) -> dict[str, Any]:
    body = completed_body(of, worker_id="w1", at=AT, bucket_prefix=bucket_prefix)
    return msgspec.json.decode(body, type=dict[str, Any])


def test_work_begins() -> None:
    assert json.loads(processing_body("j1", worker_id="w1")) == {
        "job_id": "j1",
        "worker_id": "w1",
        "status": "processing",
        "assets": [],
        "error_message": None,
    }


def test_a_completed_picture_has_exactly_these_keys() -> None:
    body = told(done((picture(0),)))
    assert list(body) == [
        "job_id",
        "worker_id",
        "status",
        "assets",
        "error_message",
        "completedAt",
        "metadata",
    ]
    assert (body["status"], body["error_message"]) == ("completed", None)
    assert body["completedAt"] == "2026-01-31T12:00:00.000Z"
    assert body["assets"] == [
        {
            "type": "image",
            "url": "u1/j1/0.png",
            "thumbnail_url": "u1/j1/0.thumb.webp",
            "metadata": {
                "asset_index": 0,
                "file_size_bytes": 1000,
                "format": "png",
                "seed": 7,
                "steps": 15,
                "guidance_scale": 6.0,
                "pipeline": "txt2img",
                "negative_prompt_used": False,
                "width": 1024,
                "height": 1024,
                "batch_size": 1,
                "generation_seed": 7,
                "num_inference_steps": 15,
            },
        }
    ]


def test_a_completed_pictures_job_has_exactly_these_facts() -> None:
    metadata = told(done((picture(0),), facts={"processing_time": 4.2, "attempts": 1}))["metadata"]
    assert metadata == {
        "job_type": "sdxl_image_fast",
        "worker_type": "sdxl",
        "model_name": "checkpoint",
        "fallback_used": False,
        "fallback_reason": None,
        "enhancement_source": "none",
        "enhancement_applied": False,
        "unrestricted_mode": False,
        "prompt_truncated": False,
        "oom_retry": False,
        "warnings": [],
        "ignored_fields": [],
        "batch_size": 1,
        "reference_mode": "none",
        "requested_reference_mode": "none",
        "base_seed": 7,
        "steps": 15,
        "guidance_scale": 6.0,
        "num_images": 1,
        "exact_copy_mode": False,
        "final_prompt": "a red fox",
        "compel_enabled": False,
        "enhancement_strategy": "none",
        "processing_time": 4.2,
        "attempts": 1,
        "num_inference_steps": 15,
    }


def test_a_batch_keeps_its_order_and_its_own_seeds() -> None:
    body = told(done((picture(0), picture(1), picture(2)), config={"num_images": 3}))
    metadata = [asset["metadata"] for asset in body["assets"]]
    assert [one["seed"] for one in metadata] == [7, 8, 9]
    assert [one["generation_seed"] for one in metadata] == [7, 8, 9]
    assert {one["batch_size"] for one in metadata} == {3}
    assert (body["metadata"]["batch_size"], body["metadata"]["num_images"]) == (3, 3)


def test_a_seed_the_engine_does_not_report_follows_from_the_base() -> None:
    assets = tuple(
        msgspec.structs.replace(picture(index), metadata={"width": 8}) for index in range(2)
    )
    assert [one["metadata"]["seed"] for one in told(done(assets))["assets"]] == [7, 8]


def test_what_would_overwrite_the_clients_own_is_never_said() -> None:
    facts: Metadata = dict.fromkeys(NEVER, "x") | {"prompt_tokens": 3, "nothing": None}
    metadata = told(done((picture(0),), facts=facts))["metadata"]
    assert not NEVER & set(metadata)
    assert metadata["prompt_tokens"] == 3
    assert "nothing" not in metadata


def test_what_differs_between_assets_is_not_said_of_the_job() -> None:
    assets = (picture(0, sharpness=1, kind="a"), picture(1, sharpness=2, kind="a"))
    metadata = told(done(assets, facts={"sharpness": 1, "kind": "a"}))["metadata"]
    assert "sharpness" not in metadata
    assert metadata["kind"] == "a"


def test_effective_values_win_over_asked_ones() -> None:
    receipt = Receipt(
        effective={"steps": 20, "effective_steps": 1, "guidance_scale": 1.0, "width": 8},
        warnings=("w", "w"),
        differences=(
            Difference(parameter="steps", requested="15", effective="20", reason="step floor"),
        ),
    )
    body = told(
        done(
            (picture(0),),
            receipt=receipt,
            metadata={"reference_image_url": REFERENCE, "exact_copy_mode": True},
            config={"num_inference_steps": 15, "guidance_scale": 6, "pipeline": "x"},
        )
    )
    metadata, asset = body["metadata"], body["assets"][0]["metadata"]
    assert (metadata["steps"], metadata["num_inference_steps"]) == (20, 20)
    assert (asset["steps"], asset["num_inference_steps"], asset["effective_steps"]) == (20, 20, 1)
    assert (metadata["exact_copy_mode"], metadata["reference_mode"]) == (True, "copy")
    assert (metadata["copy_detected_by"], metadata["denoise_strength"]) == ("flag", 0.05)
    assert (asset["pipeline"], asset["denoise_strength"]) == ("img2img", 0.05)
    assert asset["resize_policy"] == "center_crop"
    assert metadata["ignored_fields"] == ["config.pipeline"]
    assert metadata["warnings"] == [
        "w",
        "guidance_scale: asked 6, executed 1 (copy mode)",
        "steps: asked 15, executed 20 (step floor)",
    ]


@pytest.mark.parametrize(
    ("negative", "guidance", "used"),
    [(None, 6, False), ("", 6, False), ("fog", 6, True), ("fog", 1, False)],
)
def test_when_a_negative_prompt_was_used(negative: str | None, guidance: float, used: bool) -> None:
    of = done((picture(0),), negative_prompt=negative, config={"guidance_scale": guidance})
    assert told(of)["assets"][0]["metadata"]["negative_prompt_used"] is used


def test_weights_are_part_of_the_final_prompt() -> None:
    metadata = told(done((picture(0),), compel_enabled=True, compel_weights="x++"))["metadata"]
    assert metadata["final_prompt"] == "a red fox, x++"
    assert (metadata["compel_weights"], metadata["enhancement_strategy"]) == ("x++", "compel")
    metadata = told(done((picture(0),), compel_weights="x++"))["metadata"]
    assert (metadata["final_prompt"], metadata["compel_enabled"]) == ("a red fox", False)


def test_a_dropped_reference_is_told() -> None:
    of = done(
        (picture(0),),
        facts={"fallback_used": True, "fallback_reason": "REFERENCE_FRAME_ERROR:REFERENCE_EXPIRED"},
        metadata={"reference_image_url": REFERENCE},
        config={"denoise_strength": 0.3},
    )
    body = told(of)
    metadata, asset = body["metadata"], body["assets"][0]["metadata"]
    assert metadata["fallback_used"] is True
    assert metadata["fallback_reason"] == "REFERENCE_FRAME_ERROR:REFERENCE_EXPIRED"
    assert (metadata["fallback_from"], metadata["fallback_to"]) == ("img2img", "txt2img")
    assert (metadata["reference_mode"], metadata["requested_reference_mode"]) == ("none", "modify")
    assert asset["pipeline"] == "txt2img"
    for key in ("denoise_strength", "resize_policy"):
        assert key not in asset
        assert key not in metadata


def test_a_clip_and_what_was_asked_of_it() -> None:
    body = told(
        done(
            (CLIP,),
            type="video_high",
            config={"frame_num": 83, "resolution": "1024x576", "first_frame": REFERENCE},
            receipt=Receipt(effective={"wan_task": "vace-1.3B", "frame_num": 81}),
        )
    )
    metadata, asset = body["metadata"], body["assets"][0]
    assert (asset["type"], asset["url"]) == ("video", "u1/j1/0.mp4")
    assert "thumbnail_url" not in asset
    assert (metadata["frame_num"], metadata["requested_frame_num"]) == (81, 83)
    assert (metadata["fps"], metadata["wan_task"]) == (16, "vace-1.3B")
    assert (metadata["requested_resolution"], metadata["worker_type"]) == ("1024x576", "wan")
    assert (metadata["reference_mode"], metadata["conditioning_scale"]) == ("start", 1.0)
    measured = asset["metadata"]
    assert (measured["pipeline"], measured["denoise_strength"]) == ("img2video", 0.2)
    assert (measured["sample_solver"], measured["sample_shift"]) == ("dpm++", 5.0)
    assert (measured["codec"], measured["duration_seconds"]) == ("h264", 5.0625)
    assert measured["format"] == "mp4"
    assert "batch_size" not in measured


def test_a_still_of_wan_is_a_picture() -> None:
    body = told(done((picture(0),), type="image_fast"))
    assert body["assets"][0]["metadata"]["pipeline"] == "txt2img"
    assert not {"fps", "frame_num", "requested_frame_num"} & set(body["metadata"])


def test_an_extended_prompt_is_the_final_one() -> None:
    facts: Metadata = {
        "enhanced_prompt": "a red fox in snow",
        "original_prompt": "a red fox",
        "enhancement_source": "qwen_base",
        "enhancement_applied": True,
    }
    metadata = told(done((CLIP,), type="video7b_fast_enhanced", facts=facts))["metadata"]
    assert metadata["final_prompt"] == "a red fox in snow"
    assert (metadata["enhancement_source"], metadata["enhancement_applied"]) == ("qwen_base", True)


def test_the_callers_own_source_and_content_type_are_passed_on() -> None:
    given = {"enhancement_source": "edge", "content_type": "adult"}
    metadata = told(done((picture(0),), metadata=given))["metadata"]
    assert (metadata["enhancement_source"], metadata["content_type"]) == ("edge", "adult")


@pytest.mark.parametrize(
    ("kind", "name", "unrestricted"),
    [
        ("chat_conversation", "response", False),
        ("chat_unrestricted", "response", True),
        ("chat_enhance", "enhanced_prompt", False),
    ],
)
def test_a_text_has_no_url_and_is_told_twice(kind: str, name: str, unrestricted: bool) -> None:
    text = Asset(
        index=0,
        media=Media.TEXT,
        text="Hé!",
        metadata={"tokens_generated": 2, "finish_reason": "stop"},
    )
    body = told(done((text,), type=kind))
    assert body["assets"] == [
        {
            "type": "text",
            "text": "Hé!",
            "metadata": {"asset_index": 0, "tokens_generated": 2, "finish_reason": "stop"},
        }
    ]
    assert body["metadata"][name] == "Hé!"
    assert body["metadata"]["unrestricted_mode"] is unrestricted
    assert body["metadata"]["worker_type"] == "chat"


def test_an_answer_about_the_pod_is_an_object() -> None:
    text = Asset(index=0, media=Media.TEXT, text='{"total_vram": 48.0}')
    assert told(done((text,), type="admin_utilities"))["metadata"]["result"] == {"total_vram": 48.0}


def test_paths_may_carry_the_bucket() -> None:
    asset = told(done((picture(0),)), bucket_prefix=True)["assets"][0]
    assert asset["url"] == "workspace-temp/u1/j1/0.png"
    assert asset["thumbnail_url"] == "workspace-temp/u1/j1/0.thumb.webp"


def test_a_failure() -> None:
    facts: Metadata = {
        "error_type": "REFERENCE_FRAME_ERROR",
        "error_code": "REFERENCE_FRAME_ERROR",
        "error_reason": "REFERENCE_EXPIRED",
        "retryable": False,
        "stage": "reference",
        "job_type": "video_fast",
        "attempts": 1,
        "traceback": "secret",
    }
    body = failed_body("j1", worker_id="w1", at=AT, sentence="It expired.", facts=facts)
    del facts["traceback"]
    assert json.loads(body) == {
        "job_id": "j1",
        "worker_id": "w1",
        "status": "failed",
        "assets": [],
        "error_message": "It expired.",
        "completedAt": "2026-01-31T12:00:00.000Z",
        "metadata": facts | {"timestamp": "2026-01-31T12:00:00.000Z"},
    }


@pytest.mark.parametrize(
    ("stage", "said"), [("denoise", "generate"), (None, "generate"), ("upload", "upload")]
)
def test_a_stage_is_told_in_the_contracts_words(stage: str | None, said: str) -> None:
    body = failed_body("j1", worker_id="w1", at=AT, sentence="x", facts={"stage": stage})
    assert json.loads(body)["metadata"]["stage"] == said


@pytest.mark.parametrize(
    ("sentence", "length"), [("short", 5), ("x " * 200, 198), ("x" * 300, 200), ("a\nb\t c", 5)]
)
def test_a_message_is_one_short_line(sentence: str, length: int) -> None:
    found = shorten(sentence)
    assert len(found) == length
    assert "\n" not in found
