"""What an operator's tools ask: health, metrics, and the interface's own description."""

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
from starlette.responses import Response

from ourvidz_worker.api.call import Call
from ourvidz_worker.api.problems import is_speakable
from ourvidz_worker.api.routes.legacy import MODELS_LOADED
from ourvidz_worker.domain.health import Depth, HealthView
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.times import rfc3339

HEALTHY = frozenset({"healthy", "starting", "degraded"})
"""The states that answer 200; the others answer 503 (H-12)."""

#: The contract's three queues, and the lanes whose jobs lie in each.
QUEUES: Mapping[str, tuple[Lane, ...]] = MappingProxyType(
    {"sdxl": (Lane.IMAGE,), "wan": (Lane.VIDEO,), "chat": (Lane.CHAT, Lane.ADMIN)}
)

CAPABILITIES = {"chat": True, "enhancement": True, "generation": True, "jobs": True}

METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class QueueView(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs of a lane wait, and how many are worked on."""

    waiting: int
    in_progress: int


class HealthReply(msgspec.Struct, frozen=True, kw_only=True):
    """How the pod is, as this port shows it; `uptime` in seconds, `problems` in words."""

    status: str
    worker_type: str
    ready: bool
    model_loaded: bool
    endpoints: tuple[str, ...]
    capabilities: dict[str, bool]
    queue: dict[str, QueueView]
    models_loaded: dict[str, bool | str | None]
    draining: bool
    uptime: float
    stats: dict[str, int]
    problems: tuple[str, ...]
    timestamp: str
    version: str


async def health(call: Call) -> Response:
    """Tell how the pod is; 503 when it drains or its engines are dead."""
    site = call.site
    view = site.pod.health(site.side)
    depths = {
        name: [view.queue.get(lane, Depth()) for lane in lanes] for name, lanes in QUEUES.items()
    }
    reply = HealthReply(
        status=view.status,
        worker_type=site.side,
        ready=view.ready,
        model_loaded=view.model_loaded,
        endpoints=tuple(filter(is_speakable, site.endpoints)),
        capabilities=CAPABILITIES,
        queue={
            name: QueueView(
                waiting=sum(depth.waiting for depth in several),
                in_progress=sum(depth.leased for depth in several),
            )
            for name, several in depths.items()
        },
        models_loaded=MODELS_LOADED | view.models_loaded,
        draining=view.draining,
        uptime=view.uptime_s,
        stats=view.stats,
        problems=tuple(filter(is_speakable, view.problems)),
        timestamp=rfc3339(view.at or site.clock.now()),
        version=site.settings.version,
    )
    return call.reply(reply, 200 if view.status in HEALTHY else 503, {"Cache-Control": "no-store"})


async def metrics(call: Call) -> Response:
    """Tell the figures of the pod, in Prometheus' text format."""
    view = call.site.pod.health(call.site.side)
    text = "".join(line + "\n" for line in _metrics(view))
    return Response(text, media_type=METRICS_TYPE)


async def openapi(call: Call) -> Response:
    """Describe this interface (OpenAPI 3.1)."""
    return Response(call.site.document, media_type="application/json")


def _metrics(view: HealthView) -> Iterator[str]:
    yield from _metric("up", "gauge", {"": int(view.status in HEALTHY)})
    yield from _metric("ready", "gauge", {"": int(view.ready)})
    yield from _metric("uptime_seconds", "gauge", {"": view.uptime_s})
    lanes = {f'{{lane="{lane.value}"}}': depth for lane, depth in sorted(view.queue.items())}
    waiting = {label: depth.waiting for label, depth in lanes.items()}
    yield from _metric("jobs_waiting", "gauge", waiting)
    yield from _metric("jobs_leased", "gauge", {name: lanes[name].leased for name in lanes})
    running = {
        f'{{lane="{lane.value}"}}': int(worker.get("running") or 0)
        for lane, worker in sorted(view.workers.items())
    }
    yield from _metric("attempts_running", "gauge", running)
    for name, count in sorted(view.stats.items()):
        yield from _metric(
            f"{re.sub(r'[^a-z0-9_]', '_', name.lower())}_total", "counter", {"": count}
        )


def _metric(name: str, kind: str, values: dict[str, int | float] | dict[str, int]) -> Iterator[str]:
    yield f"# TYPE ourvidz_{name} {kind}"
    yield from (f"ourvidz_{name}{label} {value}" for label, value in values.items())
