"""What existing clients ask a worker about itself, in the contract's own words (2.4)."""

import msgspec
from starlette.responses import Response

from ourvidz_worker.api.call import Call, Side
from ourvidz_worker.domain.health import HealthView
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.lane import Lane

SERVICE = "ourvidz-worker"

WORKER_TYPES: dict[Side, tuple[str, ...]] = {"wan": ("sdxl", "wan"), "chat": ("chat",)}

DEFAULT_LANE: dict[Side, Lane] = {"wan": Lane.IMAGE, "chat": Lane.CHAT}
"""The lane whose model is each port's default (H-12)."""

CAPABILITIES = ("pure_inference", "no_prompt_overrides", "enhanced_logging")
SECURITY_FEATURES = ("no_hardcoded_prompts", "edge_function_control")
REFERENCE_MODES = ("none", "copy", "modify", "single", "start", "end", "both")

MODELS_LOADED: dict[str, bool | str | None] = {
    "instruct_loaded": False,
    "base_loaded": False,
    "sdxl_loaded": False,
    "wan_loaded": False,
    "active_model_type": None,
}
"""What is told of a model that the pod says nothing of."""


class CapabilityDetails(msgspec.Struct, frozen=True, kw_only=True):
    """What this worker does, and what it never does (P-1, P-2)."""

    chat: bool = True
    enhancement: bool = True
    generation: bool = True
    pure_inference: bool = True
    hardcoded_prompts: bool = False
    prompt_modification: bool = False


class Welcome(msgspec.Struct, frozen=True, kw_only=True):
    """What answers here."""

    service: str
    status: str
    version: str
    endpoints: tuple[str, ...]


class WorkerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What this worker is, takes and holds; `model` is the port's default model, if it is known."""

    worker_type: str
    worker_types: tuple[str, ...]
    architecture: str
    capabilities: tuple[str, ...]
    capability_details: CapabilityDetails
    security_features: tuple[str, ...]
    endpoints: tuple[str, ...]
    job_types: tuple[str, ...]
    reference_modes: tuple[str, ...]
    model: str | None
    models_loaded: dict[str, bool | str | None]
    model_loaded: bool
    limits: dict[str, int | float]
    stats: dict[str, int]
    version: str


async def welcome(call: Call) -> Response:
    """Tell what answers here."""
    site = call.site
    view = site.pod.health(site.side)
    return call.reply(
        Welcome(
            service=SERVICE,
            status=view.status,
            version=site.settings.version,
            endpoints=site.endpoints,
        )
    )


async def worker_info(call: Call) -> Response:
    """Tell what this worker is, takes and holds."""
    site = call.site
    view = site.pod.health(site.side)
    return call.reply(
        WorkerInfo(
            worker_type=site.side,
            worker_types=WORKER_TYPES[site.side],
            architecture="pure_inference_engine",
            capabilities=CAPABILITIES,
            capability_details=CapabilityDetails(),
            security_features=SECURITY_FEATURES,
            endpoints=site.endpoints,
            job_types=tuple(JOB_TYPES),
            reference_modes=REFERENCE_MODES,
            model=_model(view, site.side),
            models_loaded=MODELS_LOADED | view.models_loaded,
            model_loaded=view.model_loaded,
            limits=site.pod.limits(),
            stats=view.stats,
            version=site.settings.version,
        )
    )


def _model(view: HealthView, side: Side) -> str | None:
    model = view.workers.get(DEFAULT_LANE[side], {}).get("model")
    return model if isinstance(model, str) else None
