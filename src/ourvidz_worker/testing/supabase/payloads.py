"""Job objects as the application's two revisions push them, with all that is odd about them.

C1 is the client of 2025, C2 that of 2026. Each builder takes a `Seed` and gives the whole object;
`config` and `metadata` of the seed are laid over the client's own, so that a test can ask for less
work without changing the shape.
"""

from typing import Any, Literal

import msgspec

from ourvidz_worker.testing.supabase.state import Revision

Payload = dict[str, Any]
VideoMode = Literal["none", "single", "start", "end", "both"]

#: What both clients send whether it means something or not (contract 3.3, traps).
UNASKED_METADATA: Payload = {
    "reference_type": "style",
    "reference_mode": "modify",
    "exact_copy_mode": False,
    "start_reference_url": None,
    "end_reference_url": None,
    "originalSeed": None,
    "contentType": "sfw",
    "source": "workspace",
}


class Seed(msgspec.Struct, frozen=True, kw_only=True):
    """What differs from job to job."""

    job_id: str
    user_id: str
    revision: Revision = "C2"
    prompt: str = "a lake at dawn, mist over the water"
    negative_prompt: str = "blurry, watermark"
    seed: int | None = None
    config: Payload = {}
    metadata: Payload = {}


def text_to_image(seed: Seed, *, job_type: str = "sdxl_image_fast", images: int = 1) -> Payload:
    """A picture from text; `denoise_strength` is there all the same."""
    config = _image_config(images) | {"denoise_strength": 0.2, "pipeline": "txt2img"}
    return _job(seed, job_type, config, {})


def modify(seed: Seed, reference: str, *, job_type: str = "sdxl_image_high") -> Payload:
    """A picture from a picture and text, changed by a third."""
    config = _image_config(1) | {"denoise_strength": 0.35, "pipeline": "img2img"}
    metadata = {
        "reference_image_url": reference,
        "reference_strength": 0.65,
        "reference_mode": "modify",
        "num_inference_steps": 99,
        "guidance_scale": 1.5,
    }
    return _job(seed, job_type, config, metadata)


def ui_copy(seed: Seed, reference: str) -> Payload:
    """What the copy button really sends: mode `modify`, 0.05, guidance 1 and 25 steps (4.1)."""
    config = _image_config(1) | {
        "denoise_strength": 0.05,
        "guidance_scale": 1.0,
        "num_inference_steps": 25,
        "pipeline": "img2img",
    }
    metadata = {
        "reference_image_url": reference,
        "reference_strength": 0.95,
        "reference_mode": "modify",
    }
    return _job(seed, "sdxl_image_high", config, metadata)


def api_copy(seed: Seed, reference: str) -> Payload:
    """A copy that says so, and has no prompt (K-13)."""
    config = _image_config(1) | {"num_inference_steps": 15, "pipeline": "img2img"}
    metadata = {
        "reference_image_url": reference,
        "reference_strength": None,
        "reference_mode": "copy",
        "exact_copy_mode": True,
    }
    return _job(seed, "sdxl_image_fast", config, metadata) | {"prompt": ""}


def video(
    seed: Seed,
    mode: VideoMode = "none",
    *,
    first: str = "",
    last: str = "",
    image: str = "",
    job_type: str = "video_fast",
) -> Payload:
    """A clip in one of the five reference modes; its resolution is that of a picture."""
    references: dict[str, str | None] = {"first_frame": None, "last_frame": None, "image": None}
    if mode in {"start", "both"}:
        references["first_frame"] = first
    if mode in {"end", "both"}:
        references["last_frame"] = last
    if mode == "single":
        references["image"] = image
    config: Payload = {
        "size": "480*832",
        "sample_steps": 25,
        "sample_guide_scale": 6.5,
        "sample_shift": 5.0,
        "frame_num": 83,
        "denoise_strength": 0.2,
        "num_images": 1,
        "pipeline": "txt2img" if mode == "none" else "img2img",
        "resolution": "1024x1024",
        **references,
    }
    if seed.revision == "C2":
        config["sample_solver"] = "dpm++"
    metadata: Payload = {
        "duration": 5,
        "video_reference_mode": mode,
        "start_reference_url": references["first_frame"],
        "end_reference_url": references["last_frame"],
        "reference_image_url": references["image"],
        "motion_intensity": 0.5,
    }
    return _job(seed, job_type, config, metadata)


def chat(seed: Seed, *, job_type: str = "chat_conversation") -> Payload:
    """A chat job, which no client pushes today (3.6)."""
    messages = [{"role": "user", "content": seed.prompt}]
    job = _job(seed, job_type, {"messages": messages, "max_tokens": 16}, {})
    del job["negative_prompt"]
    return job


def _image_config(images: int) -> Payload:
    return {
        "width": 1024,
        "height": 1024,
        "resolution": "1024x1024",
        "num_images": images,
        "batch_size": images,
    }


def _job(seed: Seed, job_type: str, config: Payload, metadata: Payload) -> Payload:
    """The object around the two dictionaries; C1 named some fields otherwise."""
    job: Payload = {
        "id": seed.job_id,
        "user_id": seed.user_id,
        "prompt": seed.prompt,
        "negative_prompt": seed.negative_prompt,
        "config": {"seed": seed.seed, **config, **seed.config},
        "metadata": {**UNASKED_METADATA, **metadata, **seed.metadata},
        "compel_enabled": False,
        "compel_weights": "",
    }
    is_video = "video" in job_type
    named = {
        "quality": "high" if "high" in job_type else "fast",
        "format": "mp4" if is_video else "png",
    }
    if seed.revision == "C1":
        return {**job, "job_type": job_type, "userId": seed.user_id, "model_type": "sdxl", **named}
    return {**job, "type": job_type, "job_type": job_type, "content_type": "sfw", **named}
