"""The device's memory over HTTP: load, unload, look, and the operations (contract 2.4 and 9)."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.responses import Response

from ourvidz_worker.api.bodies import decode, decode_query, read_object, read_optional_object
from ourvidz_worker.api.call import Call, Side
from ourvidz_worker.api.routes.legacy import MODELS_LOADED
from ourvidz_worker.domain.errors import ModelLoadFailed, RequestError
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import WORKER_NAMES, Operation, Order

#: What a caller may name, and the workers that it means.
WHICH: Mapping[str, tuple[Lane, ...]] = MappingProxyType(
    {
        "instruct": (Lane.CHAT,),
        "base": (Lane.CHAT,),
        "qwen": (Lane.CHAT,),
        "chat": (Lane.CHAT,),
        "sdxl": (Lane.IMAGE,),
        "wan": (Lane.VIDEO,),
    }
)
ALL = "all"
BASE = frozenset({"base", "qwen"})

#: The models of each port, in the order in which they are loaded.
OWN: Mapping[Side, tuple[Lane, ...]] = MappingProxyType(
    {"wan": (Lane.IMAGE, Lane.VIDEO), "chat": (Lane.CHAT,)}
)
DEFAULT_LOAD: Mapping[Side, str] = MappingProxyType({"wan": "sdxl", "chat": "instruct"})

WHICH_RULE = f"one of {', '.join([*WHICH, ALL])}"
OPERATION_RULE = f"one of {', '.join(Operation)}"
TARGET_RULE = "sdxl, chat or wan, each also with _worker behind it"

#: The workers by every name that a caller may use.
TARGETS: Mapping[str, Lane] = MappingProxyType(
    {f"{name}{tail}": lane for lane, name in WORKER_NAMES.items() for tail in ("", "_worker")}
)


class MoveBody(msgspec.Struct, frozen=True, kw_only=True):
    """What to load or unload; the port has a default for `which`."""

    which: Annotated[str, Meta(description=WHICH_RULE)] | None = None
    force: Annotated[bool, Meta(description="true or false")] | None = None


class OperationBody(msgspec.Struct, frozen=True, kw_only=True):
    """One operation; `required_gb` in GiB."""

    operation: Annotated[str, Meta(description=OPERATION_RULE)] | None = None
    target_worker: Annotated[str, Meta(description=TARGET_RULE)] | None = None
    required_gb: Annotated[float, Meta(gt=0, description="a number above 0")] | None = None
    force: Annotated[bool, Meta(description="true or false")] | None = None
    reason: Annotated[str, Meta(description="a string")] | None = None


class Moved(msgspec.Struct, frozen=True, kw_only=True):
    """What was done, and which models can serve now."""

    message: str
    models_loaded: dict[str, bool | str | None]
    success: bool = True


class DebugModel(msgspec.Struct, frozen=True, kw_only=True):
    """The text models, what each worker computes on, and the pod's counts."""

    active_model_type: str | None
    instruct_loaded: bool
    base_loaded: bool
    devices: dict[str, str]
    stats: dict[str, int]


async def load(call: Call) -> Response:
    """Load a model, into free room alone unless `force`; one that is loaded stays."""
    asked = await _asked(call)
    which = _which(asked, DEFAULT_LOAD[call.site.side])
    up = await call.site.memory.load(_lanes(which, call.site.side), force=bool(asked.force))
    if which in BASE and not _models(call)["base_loaded"]:
        raise ModelLoadFailed("This pod has no Base model; let QWEN_BASE_PATH name its folder.")
    return call.reply(Moved(message=f"loaded: {_names(up)}", models_loaded=_models(call)))


async def unload(call: Call) -> Response:
    """Unload a model once its users have ended; `force` ends their work."""
    asked = await _asked(call)
    lanes = _lanes(_which(asked, ALL), call.site.side)
    await call.site.memory.unload(lanes, force=bool(asked.force))
    return call.reply(Moved(message=f"unloaded: {_names(lanes)}", models_loaded=_models(call)))


async def status(call: Call) -> Response:
    """Tell how the device's memory is used; without a device there is nothing to tell."""
    return call.reply(call.site.memory.memory_status(call.site.side))


async def report(call: Call) -> Response:
    """Tell every worker's memory, what is expected, and the last moves with their reasons."""
    return call.reply(call.site.memory.memory_report())


async def operate(call: Call) -> Response:
    """Carry out one operation on the device's memory."""
    body = await read_object(call.request, call.site.clock)
    asked = decode(body.raw, OperationBody)
    if asked.operation not in set(Operation):
        raise RequestError(f"The field operation must be {OPERATION_RULE}.", field="operation")
    target = None if asked.target_worker is None else TARGETS.get(asked.target_worker.lower())
    if asked.target_worker is not None and target is None:
        raise RequestError(f"The field target_worker must be {TARGET_RULE}.", field="target_worker")
    order = Order(
        operation=Operation(asked.operation),
        target=target,
        required_gb=asked.required_gb,
        force=bool(asked.force),
        reason=asked.reason,
    )
    return call.reply(await call.site.memory.operate(order))


async def debug_model(call: Call) -> Response:
    """Tell which text models are loaded, and what each worker computes on."""
    view = call.site.pod.health(call.site.side)
    models = MODELS_LOADED | view.models_loaded
    active = models["active_model_type"]
    devices = {
        WORKER_NAMES[lane]: str(worker["device"])
        for lane, worker in view.workers.items()
        if worker.get("device")
    }
    return call.reply(
        DebugModel(
            active_model_type=active if isinstance(active, str) else None,
            instruct_loaded=models["instruct_loaded"] is True,
            base_loaded=models["base_loaded"] is True,
            devices=devices,
            stats=view.stats,
        )
    )


async def _asked(call: Call) -> MoveBody:
    """What the body says, and where it is silent, the query string."""
    body = await read_optional_object(call.request, call.site.clock)
    said = decode(body.raw, MoveBody)
    query = decode_query(call.request.query_params, MoveBody)
    return MoveBody(
        which=query.which if said.which is None else said.which,
        force=query.force if said.force is None else said.force,
    )


def _which(asked: MoveBody, default: str) -> str:
    which = default if asked.which is None else asked.which.lower()
    if which != ALL and which not in WHICH:
        raise RequestError(f"The field which must be {WHICH_RULE}.", field="which")
    return which


def _lanes(which: str, side: Side) -> tuple[Lane, ...]:
    return OWN[side] if which == ALL else WHICH[which]


def _models(call: Call) -> dict[str, bool | str | None]:
    return MODELS_LOADED | call.site.pod.health(call.site.side).models_loaded


def _names(lanes: tuple[Lane, ...]) -> str:
    return ", ".join(WORKER_NAMES[lane] for lane in lanes)
