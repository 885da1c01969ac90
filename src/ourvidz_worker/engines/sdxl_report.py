"""What is told of an SDXL task: each picture's metadata, the effective parameters, the facts."""

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.engines.sdxl_checkpoint import Checkpoint
from ourvidz_worker.engines.sdxl_plan import Plan
from ourvidz_worker.engines.sdxl_schedule import make_scheduler, sigma_at
from ourvidz_worker.engines.sdxl_weighting import METHOD


def picture_metadata(plan: Plan, index: int) -> Metadata:
    """The metadata of picture `index` that is not measured on its file (7.2)."""
    told: Metadata = {
        "seed": plan.seeds[index],
        "generation_seed": plan.seeds[index],
        "batch_size": plan.request.count,
        **_steps(plan),
        "guidance_scale": plan.request.guidance,
        "pipeline": "txt2img" if plan.reference is None else "img2img",
        "negative_prompt_used": bool(plan.request.negative_prompt) and plan.guided,
        "scheduler": plan.choice.name,
    }
    return told | _reference(plan)


def effective(plan: Plan, checkpoint: Checkpoint) -> Metadata:
    """The parameters really used, for the receipt."""
    told: Metadata = {
        "width": plan.shape.width,
        "height": plan.shape.height,
        "count": plan.request.count,
        "seed": plan.seed,
        **_steps(plan),
        "guidance_scale": plan.request.guidance,
        "negative": _negative(plan),
        "scheduler": plan.choice.name,
        "scheduler_class": plan.choice.solver.kind.__name__,
        "prompt_tokens": plan.prompt.count,
        "prompt_chunks": len(plan.prompt.chunks[0]),
        "weighting": METHOD if plan.weighted else "none",
        "precision": str(checkpoint.unet.dtype).removeprefix("torch."),
        "vae_precision": str(checkpoint.vae.module.dtype).removeprefix("torch."),
        "tier": "exact",
        "model_digest": checkpoint.digest,
    }
    if plan.timesteps:
        scheduler = make_scheduler(checkpoint.schedule, plan.choice)
        told["sigma_start"] = round(sigma_at(scheduler, plan.timesteps[0]), 6)
    return told | _reference(plan)


def facts(plan: Plan, checkpoint: Checkpoint) -> Metadata:
    """What the callback's metadata tells of the whole job (7.3) and only the engine knows."""
    request = plan.request
    told: Metadata = {
        "model_name": checkpoint.name,
        **_steps(plan),
        "final_prompt": plan.text,
        "final_prompt_type": "weighted" if plan.weighted else "plain",
        "prompt_tokens": plan.prompt.count,
        "prompt_chunks": len(plan.prompt.chunks[0]),
        "prompt_truncated": is_truncated(plan),
        "compel_success": request.weighting,
    }
    if plan.reference is not None:
        told["denoise_strength"] = plan.strength
    if plan.shape.differences:
        told["requested_resolution"] = f"{request.width}x{request.height}"
    return told


def is_truncated(plan: Plan) -> bool:
    """True when a text was cut, which only happens where the request allows it (P-3)."""
    negative = plan.negative is not None and plan.negative.truncated
    return plan.prompt.truncated or negative


def fed(plan: Plan) -> dict[str, str]:
    """Encoder to digest of the exact token ids."""
    digests = plan.prompt.digests()
    return digests if plan.negative is None else digests | plan.negative.digests(":negative")


def _steps(plan: Plan) -> Metadata:
    told: Metadata = {
        "steps": plan.steps,
        "num_inference_steps": plan.steps,
        "effective_steps": plan.executed,
    }
    if plan.steps != plan.request.steps:
        told["requested_steps"] = plan.request.steps
    return told


def _reference(plan: Plan) -> Metadata:
    if plan.reference is None:
        return {}
    policy = plan.request.resize_policy
    return {"denoise_strength": plan.strength, "resize_policy": policy}


def _negative(plan: Plan) -> str:
    if not plan.guided:
        return "unused"
    return "zeros" if plan.negative is None else "encoded"
