"""The metadata of a completed job (contract 7.3), from the request, the engine and the pod.

What the request says is only where it starts from: effective parameters and facts of the engine
come over it, and what K-1 forbids is taken out at the end, whoever put it in.
"""

import msgspec

from ourvidz_worker.domain.artifact import Asset, Facts
from ourvidz_worker.domain.job_types import JOB_TYPES, Family
from ourvidz_worker.domain.receipt import Difference, Receipt
from ourvidz_worker.domain.request import ChatRequest, ImageRequest, Request, VideoRequest

FPS = 16

#: K-1: the client would overwrite its own with these.
FORBIDDEN = frozenset(
    {
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
)

#: The one key that is told although it is null (F-3).
NULL_IS_SAID = "fallback_reason"

#: Effective parameters of a receipt that belong to the callback as well.
EFFECTIVE = frozenset(
    {
        "steps",
        "num_inference_steps",
        "requested_steps",
        "effective_steps",
        "guidance_scale",
        "denoise_strength",
        "conditioning_scale",
        "frame_num",
        "requested_frame_num",
        "requested_resolution",
        "fps",
        "wan_task",
        "compel_success",
    }
)

WITHOUT_REFERENCE = frozenset(
    {"denoise_strength", "conditioning_scale", "copy_detected_by", "resize_policy"}
)
"""What is not said when a reference was dropped (F-3)."""


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A completed job. `seed` is its base seed; `facts` are the engine's and the pod's."""

    job_id: str
    request: Request
    assets: tuple[Asset, ...]
    receipt: Receipt
    facts: Facts
    seed: int | None = None

    @property
    def fell_back(self) -> bool:
        """True when the job ran without the reference it asked for."""
        return self.facts.get("fallback_used") is True


def metadata_of(done: Done) -> dict[str, object]:
    """The job's metadata, flat but for `warnings`, `ignored_fields` and an answer's `result`."""
    request = done.request
    said = _of_every_job(done)
    if isinstance(request, ImageRequest):
        said |= _of_image(request, done)
    elif isinstance(request, VideoRequest):
        said |= _of_video(request, done)
    else:
        said |= _of_text(done)
    said |= {key: value for key, value in done.receipt.effective.items() if key in EFFECTIVE}
    said |= done.facts
    if "steps" in said:
        said["num_inference_steps"] = said["steps"]
    if done.fell_back:
        asked = done.facts.get("requested_reference_mode")
        said |= _of_fallback(request) | ({"requested_reference_mode": asked} if asked else {})
        said = {key: value for key, value in said.items() if key not in WITHOUT_REFERENCE}
    differing = _differing(done.assets)
    return {
        key: value
        for key, value in said.items()
        if key not in FORBIDDEN
        and key not in differing
        and (value is not None or key == NULL_IS_SAID)
    }


def _of_every_job(done: Done) -> dict[str, object]:
    request, receipt = done.request, done.receipt
    recorded = request.recorded
    passed = {key: msgspec.json.decode(raw) for key, raw in recorded.passed_through.items()}
    unrestricted = request.job_type == "chat_unrestricted" or passed.get("unrestricted_mode")
    differences = [_in_words(one) for one in (*recorded.differences, *receipt.differences)]
    return {
        "job_type": request.job_type,
        "worker_type": _worker_type(request),
        "model_name": receipt.model or None,
        "fallback_used": False,
        "fallback_reason": None,
        "enhancement_source": passed.get("enhancement_source") or "none",
        "enhancement_applied": False,
        "unrestricted_mode": unrestricted or False,
        "content_type": passed.get("content_type") or passed.get("contentType"),
        "prompt_truncated": False,
        "oom_retry": False,
        "warnings": [*dict.fromkeys([*recorded.warnings, *receipt.warnings, *differences])],
        "ignored_fields": list(recorded.ignored_fields),
    }


def _of_image(request: ImageRequest, done: Done) -> dict[str, object]:
    text = request.prompt
    if request.weighting and request.weights:
        text = f"{request.prompt}, {request.weights}"
    return {
        **_of_pictures(request, done),
        "num_images": len(done.assets),
        "exact_copy_mode": request.mode == "copy",
        "copy_detected_by": request.copy_detected_by,
        "denoise_strength": request.strength,
        "final_prompt": text,
        "compel_enabled": request.weighting,
        "compel_weights": request.weights if request.weighting else None,
        "enhancement_strategy": "compel" if request.weighting else "none",
    }


def _of_video(request: VideoRequest, done: Done) -> dict[str, object]:
    with_reference = request.mode != "none"
    clip = request.frames > 1
    return {
        **_of_pictures(request, done),
        "exact_copy_mode": False,
        "denoise_strength": request.strength if with_reference else None,
        "conditioning_scale": request.conditioning_scale,
        "final_prompt": done.facts.get("enhanced_prompt") or request.prompt,
        "frame_num": request.frames if clip else None,
        "requested_frame_num": request.requested_frames if clip else None,
        "fps": FPS if clip else None,
        "num_images": len(done.assets),
        "requested_resolution": request.requested_size,
    }


def _of_pictures(request: ImageRequest | VideoRequest, done: Done) -> dict[str, object]:
    return {
        "batch_size": len(done.assets),
        "reference_mode": request.mode,
        "requested_reference_mode": request.mode,
        "base_seed": done.seed,
        "steps": request.steps,
        "guidance_scale": request.guidance,
    }


def _of_text(done: Done) -> dict[str, object]:
    """The same text that the asset has, under the name its job type gives it (J-1)."""
    text = "".join(asset.text or "" for asset in done.assets)
    if isinstance(done.request, ChatRequest):
        name = "enhanced_prompt" if done.request.job_type == "chat_enhance" else "response"
        return {name: text}
    return {"result": msgspec.json.decode(text, type=dict[str, object])}


def _of_fallback(request: Request) -> dict[str, object]:
    still = isinstance(request, ImageRequest) or getattr(request, "frames", 0) == 1
    return {
        "fallback_from": "img2img" if still else "img2video",
        "fallback_to": "txt2img" if still else "txt2video",
        "reference_mode": "none",
        "exact_copy_mode": False,
    }


def _worker_type(request: Request) -> str:
    row = JOB_TYPES.get(request.job_type)
    return Family.CHAT.value if row is None or row.family is Family.ADMIN else row.family.value


def _in_words(difference: Difference) -> str:
    """One executed difference as a warning: what was asked, what was done, and why."""
    return (
        f"{difference.parameter}: asked {difference.requested}, "
        f"executed {difference.effective} ({difference.reason})"
    )


def _differing(assets: tuple[Asset, ...]) -> frozenset[str]:
    """Names whose values differ between assets; said of the job they would be false (K-1)."""
    names = {name for asset in assets for name in asset.metadata}
    return frozenset(
        name
        for name in names
        if any(asset.metadata.get(name) != assets[0].metadata.get(name) for asset in assets)
    )
