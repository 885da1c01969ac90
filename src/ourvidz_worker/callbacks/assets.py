"""One asset of a completed callback (contract 7.2): where it lies and what it is."""

from ourvidz_worker.callbacks.metadata import FPS, Done
from ourvidz_worker.domain.artifact import BUCKET, EXTENSIONS, Asset
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.request import ImageRequest, VideoRequest

WITHOUT_REFERENCE = ("denoise_strength", "resize_policy")


def asset_of(done: Done, asset: Asset, *, bucket_prefix: bool) -> dict[str, object]:
    """The asset as the client takes it; a text has no `url`, because the bucket takes none."""
    said: dict[str, object] = {"type": asset.media.value}
    if asset.media is Media.TEXT:
        facts = {key: value for key, value in asset.metadata.items() if value is not None}
        return {**said, "text": asset.text or "", "metadata": {"asset_index": asset.index, **facts}}
    prefix = f"{BUCKET}/" if bucket_prefix else ""
    said["url"] = f"{prefix}{asset.key}"
    if asset.thumbnail_key is not None:
        said["thumbnail_url"] = f"{prefix}{asset.thumbnail_key}"
    return {**said, "metadata": _metadata(done, asset)}


def _metadata(done: Done, asset: Asset) -> dict[str, object]:
    """What was measured, over what was effective, over what was asked."""
    effective = done.receipt.effective
    said: dict[str, object] = {
        "asset_index": asset.index,
        "file_size_bytes": asset.size_bytes,
        "format": EXTENSIONS.get(asset.media_type or ""),
        "seed": None if done.seed is None else done.seed + asset.index,
        "steps": effective.get("steps"),
        "effective_steps": effective.get("effective_steps"),
        "guidance_scale": effective.get("guidance_scale"),
        **_of_request(done),
        **asset.metadata,
    }
    if asset.media is Media.IMAGE:
        said["batch_size"] = len(done.assets)
    if asset.media is Media.VIDEO and isinstance(said.get("frame_num"), int):
        said.setdefault("fps", FPS)
    said["generation_seed"] = said["seed"]
    said["num_inference_steps"] = said["steps"]
    if done.fell_back:
        said = {key: value for key, value in said.items() if key not in WITHOUT_REFERENCE}
    return {key: value for key, value in said.items() if value is not None}


def _of_request(done: Done) -> dict[str, object]:
    request, effective = done.request, done.receipt.effective
    if isinstance(request, ImageRequest):
        conditioned = request.reference is not None and not done.fell_back
        of_kind: dict[str, object] = {
            "pipeline": "img2img" if conditioned else "txt2img",
            "denoise_strength": request.strength if conditioned else None,
            "scheduler": effective.get("scheduler", request.scheduler),
        }
    elif isinstance(request, VideoRequest):
        conditioned = request.mode != "none" and not done.fell_back
        of_kind = {
            "pipeline": _pipeline_of_wan(request, conditioned=conditioned),
            "denoise_strength": request.strength if conditioned else None,
            "sample_solver": request.solver,
            "sample_shift": request.shift,
        }
    else:
        return {}
    guidance = effective.get("guidance_scale", request.guidance)
    guided = isinstance(guidance, int | float) and guidance > 1
    policy = request.resize_policy if isinstance(request, ImageRequest) else "center_crop"
    return {
        **of_kind,
        "steps": effective.get("steps", request.steps),
        "guidance_scale": guidance,
        "resize_policy": policy if conditioned else None,
        "negative_prompt_used": bool(request.negative_prompt) and guided,
    }


def _pipeline_of_wan(request: VideoRequest, *, conditioned: bool) -> str:
    made = "img" if request.frames == 1 else "video"
    return f"{'img' if conditioned else 'txt'}2{made}"
