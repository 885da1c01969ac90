"""What is told of a Wan task: the file's metadata, the effective parameters, the facts."""

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.engines.wan_checkpoint import ClipCheckpoint
from ourvidz_worker.engines.wan_conditioning import Mode, pin_above
from ourvidz_worker.engines.wan_denoise import make_scheduler
from ourvidz_worker.engines.wan_plan import ClipPlan

NO_EFFECT = "the conditioning scale is 0: the reference has no effect"
CUT = "the prompt was cut, as the request allows"
SHORTENED = "what was added to the prompt was cut at the model's 512 tokens"


def file_metadata(plan: ClipPlan) -> Metadata:
    """The metadata that is not measured on the file (7.2)."""
    request = plan.request
    medium = "img" if plan.is_still else "video"
    told: Metadata = {
        "seed": plan.seed,
        "generation_seed": plan.seed,
        **_steps(plan),
        "guidance_scale": request.guidance,
        "pipeline": f"{'txt' if plan.mode is Mode.NONE else 'img'}2{medium}",
        "negative_prompt_used": bool(request.negative_prompt) and plan.negative is not None,
        "sample_solver": request.solver,
        "sample_shift": request.shift,
    }
    if plan.is_still:
        told["batch_size"] = 1
    return told | _reference(plan)


def effective(plan: ClipPlan, checkpoint: ClipCheckpoint) -> Metadata:
    """The parameters really used, for the receipt."""
    request = plan.request
    scheduler = type(make_scheduler(request.solver, request.shift)).__name__
    told: Metadata = {
        "width": plan.shape.width,
        "height": plan.shape.height,
        "seed": plan.seed,
        **_steps(plan),
        "guidance_scale": request.guidance,
        "negative": "unused" if plan.negative is None else "encoded",
        "sample_solver": request.solver,
        "sample_shift": request.shift,
        "scheduler_class": scheduler,
        "prompt_tokens": plan.prompt.count,
        "text_length": plan.text_length,
        "wan_task": _task(plan),
        "precision": str(checkpoint.plain.dtype).removeprefix("torch."),
        "tier": "exact",
        "model_digest": checkpoint.digest,
    }
    if not plan.is_still:
        told["frame_num"] = plan.shape.frames
    if plan.conditioned:
        told["conditioning_mode"] = plan.mode.value
        told["pin_above_sigma"] = pin_above(request)
    return told | _reference(plan)


def facts(plan: ClipPlan, checkpoint: ClipCheckpoint) -> Metadata:
    """What the callback's metadata tells of the whole job (7.3) and only the engine knows."""
    request = plan.request
    told: Metadata = {
        "model_name": checkpoint.name,
        **_steps(plan),
        "final_prompt": plan.text,
        "prompt_tokens": plan.prompt.count,
        "prompt_truncated": is_truncated(plan) or plan.is_shortened,
        "wan_task": _task(plan),
        "requested_resolution": request.requested_size or f"{request.width}x{request.height}",
    }
    if not plan.is_still:
        told["frame_num"] = plan.shape.frames
        told["requested_frame_num"] = request.requested_frames or request.frames
    if plan.mode is not Mode.NONE:
        told["conditioning_scale"] = plan.scale
    return told


def notes(plan: ClipPlan) -> tuple[str, ...]:
    """Warnings that are no difference of a parameter."""
    found = []
    if plan.mode is not Mode.NONE and not plan.conditioned:
        found.append(NO_EFFECT)
    if is_truncated(plan):
        found.append(CUT)
    if plan.is_shortened:
        found.append(SHORTENED)
    return tuple(found)


def fed(plan: ClipPlan) -> dict[str, str]:
    """Encoder to digest of the exact token ids."""
    digests = {"text_encoder": plan.prompt.digest}
    if plan.negative is not None:
        digests["text_encoder:negative"] = plan.negative.digest
    return digests


def is_truncated(plan: ClipPlan) -> bool:
    """True when a text was cut, which only happens where the request allows it (P-3)."""
    return plan.prompt.truncated or (plan.negative is not None and plan.negative.truncated)


def _steps(plan: ClipPlan) -> Metadata:
    steps = plan.request.steps
    return {"steps": steps, "num_inference_steps": steps, "effective_steps": steps}


def _reference(plan: ClipPlan) -> Metadata:
    if plan.mode is Mode.NONE:
        return {}
    return {
        "denoise_strength": plan.request.strength,
        "resize_policy": "center_crop",
        "conditioning_scale": plan.scale,
    }


def _task(plan: ClipPlan) -> str:
    if plan.conditioned:
        return "vace"
    return "t2i" if plan.is_still else "t2v"
