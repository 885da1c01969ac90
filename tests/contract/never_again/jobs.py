"""Job objects as the application's two revisions push them, small enough for tiny models."""

from itertools import count
from typing import Any

USER = "6a1f7d3e-2b7c-4f0e-9d0c-0d9b3f5a1c11"

_numbers = count(1)


def picture_job(
    *,
    config: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    **fields: object,
) -> dict[str, Any]:
    """A plain `sdxl_image_fast` with the leftovers of the application's form."""
    said = {
        "width": 256,
        "height": 256,
        "num_images": 1,
        "num_inference_steps": 2,
        "guidance_scale": 6.0,
        "pipeline": "txt2img",
    }
    return _job("sdxl_image_fast", said | (config or {}), metadata or {}, fields)


def clip_job(
    kind: str = "video_fast",
    *,
    config: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    **fields: object,
) -> dict[str, Any]:
    """A WAN job of a very small clip, or still, with the leftovers of the application's form."""
    said = {
        "size": "32x48",
        "sample_steps": 2,
        "sample_guide_scale": 6.5,
        "sample_solver": "dpm++",
        "sample_shift": 5.0,
        "pipeline": "img2img",
    }
    if "video" in kind and "duration" not in (metadata or {}):
        said["frame_num"] = 5
    return _job(kind, said | (config or {}), metadata or {}, fields)


def _job(
    kind: str, config: dict[str, Any], metadata: dict[str, Any], fields: dict[str, object]
) -> dict[str, Any]:
    leftovers = {"reference_type": "style", "model_variant": "default", "motion_intensity": 0.5}
    return {
        "id": f"0b9c1a52-7a58-4cf1-8d39-{next(_numbers):012d}",
        "type": kind,
        "user_id": USER,
        "prompt": "a red apple on a blue background",
        "config": {key: value for key, value in config.items() if value is not None},
        "metadata": leftovers | metadata,
        "compel_enabled": False,
        "compel_weights": None,
        **fields,
    }
