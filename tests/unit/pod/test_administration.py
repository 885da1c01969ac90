"""Questions about the pod, and changes of its memory where the operator lets a queue make them."""

import json
from typing import Any

import msgspec
import pytest

from ourvidz_worker.domain.errors import OutOfMemory, RequestError, Unavailable
from ourvidz_worker.domain.health import Depth, HealthView
from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import (
    MemoryReport,
    MemoryStatus,
    MemoryTable,
    Operation,
    OperationReply,
    Order,
    Side,
    VramUsage,
)
from ourvidz_worker.domain.request import AdminRequest
from ourvidz_worker.pod.administration import Administration

pytestmark = pytest.mark.anyio

VIEW = HealthView(
    status="healthy",
    ready=True,
    model_loaded=True,
    draining=False,
    uptime_s=1.0,
    queue={Lane.IMAGE: Depth(waiting=2)},
    models_loaded={"sdxl_loaded": True},
    workers={Lane.IMAGE: {"state": "ready", "rss_bytes": 3 << 20, "running": 1}},
    stats={"jobs_completed": 4},
)


class PlayedMemory:
    """A device of 48 GiB, or none; keeps the orders it was given."""

    def __init__(self, *, has_device: bool = True, has_room: bool = True) -> None:
        self.orders: list[Order] = []
        self._has_device = has_device
        self._has_room = has_room

    def memory_status(self, side: Side) -> MemoryStatus:
        if not self._has_device:
            raise Unavailable
        return MemoryStatus(
            total_vram=48.0,
            allocated_vram=10.0,
            available_vram=36.0,
            model_loaded=True,
            instruct_loaded=False,
            base_loaded=False,
            sdxl_loaded=True,
            wan_loaded=False,
            memory_fraction=0.31,
            worker_type=side,
            vram_usage=VramUsage(total=49152, used=10240, free=38912, pressure="low"),
            workers={"sdxl_worker": "loaded"},
            memory_allocation={"sdxl": "10 GB"},
        )

    def memory_report(self) -> MemoryReport:
        return MemoryReport(
            pressure_level="low",
            available_vram=36864,
            worker_status={},
            recommendations=("none",),
            predictions={},
            events=(),
        )

    async def operate(self, order: Order) -> OperationReply:
        self.orders.append(order)
        if not self._has_room:
            raise OutOfMemory
        table = MemoryTable(available_gb=36.0, pressure="low", workers={})
        return OperationReply(
            operation=order.operation,
            action_taken="none",
            freed_gb=0.0,
            before=table,
            after=table,
            pressure="low",
        )


def ask(limits: Limits | None = None, **config: object) -> AdminRequest:
    job = {"id": "j1", "user_id": "u1", "type": "admin_utilities", "config": config}
    request = read_job(json.dumps(job).encode(), limits=limits or Limits()).request
    assert isinstance(request, AdminRequest)
    return request


async def answer(administration: Administration, request: AdminRequest) -> dict[str, Any]:
    finished = await administration.answer(request, "a1")
    (artifact,) = finished.artifacts
    found: dict[str, Any] = msgspec.json.decode(artifact.text or "")
    return found


@pytest.mark.parametrize(
    ("operation", "part"),
    [
        ({}, {"workers": {"image": "ready"}}),
        ({"operation": "memory_status"}, {"workers": {"image": "ready"}}),
        ({"operation": "memory_report"}, {"models_loaded": {"sdxl_loaded": True}}),
        ({"operation": "worker_info"}, {"stats": {"jobs_completed": 4}}),
        ({"operation": "health"}, {"queue": {"image": {"waiting": 2, "leased": 0}}}),
        ({"operation": "enhancement_info"}, {"mode": "operator", "max_new_tokens": 150}),
    ],
)
async def test_every_question_is_answered_without_a_device(
    operation: dict[str, Any], part: dict[str, object]
) -> None:
    """3.6, J-2: needs no device and no worker; `memory_status` is the default."""
    for memory in (None, PlayedMemory(has_device=False)):
        found = await answer(
            Administration(lambda: VIEW, memory, enhancement_mode="operator"), ask(**operation)
        )
        if memory is None or operation.get("operation") != "memory_report":
            assert {key: found[key] for key in part} == part


async def test_with_a_device_its_account_is_told() -> None:
    """3.6, section 9: the same as the endpoints say."""
    administration = Administration(lambda: VIEW, PlayedMemory())
    assert (await answer(administration, ask()))["total_vram"] == 48.0
    report = await answer(administration, ask(operation="memory_report"))
    assert report["available_vram"] == 36864
    status = await answer(administration, ask(operation="pressure_check"))
    assert status["operation"] == "pressure_check"


CHANGES = [
    "force_unload",
    "force_unload_all_except",
    "force_cleanup",
    "handle_emergency_request",
    "predictive_load",
]


@pytest.mark.parametrize("operation", CHANGES)
async def test_a_change_needs_the_operators_leave(operation: str) -> None:
    """3.6: only with `ADMIN_QUEUE_WRITE=true`."""
    with pytest.raises(RequestError) as caught:
        ask(operation=operation, target_worker="wan")
    assert caught.value.field == "config.operation"
    memory = PlayedMemory()
    request = ask(
        Limits(admin_writes=True),
        operation=operation,
        target_worker="wan_worker",
        required_gb=12,
        force=True,
        reason="night",
    )
    found = await answer(Administration(lambda: VIEW, memory), request)
    assert found["operation"] == operation
    assert memory.orders == [
        Order(
            operation=Operation(operation),
            target=Lane.VIDEO,
            required_gb=12.0,
            force=True,
            reason="night",
        )
    ]


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"operation": "format_disk"}, "config.operation"),
        ({"operation": "force_unload", "target_worker": "gpu"}, "config.target_worker"),
        ({"operation": "force_cleanup", "required_gb": -1}, "config.required_gb"),
        ({"operation": "force_cleanup", "force": "yes"}, "config.force"),
    ],
)
def test_a_wrong_question_is_refused_by_its_field(config: dict[str, object], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        ask(Limits(admin_writes=True), **config)
    assert caught.value.field == field


async def test_what_was_not_achieved_is_a_failure() -> None:
    """Section 9: not achieved, `OOM_ERROR`."""
    administration = Administration(lambda: VIEW, PlayedMemory(has_room=False))
    with pytest.raises(OutOfMemory):
        await administration.answer(ask(Limits(admin_writes=True), operation=CHANGES[2]), "a1")


async def test_a_pod_without_an_account_of_memory_says_so() -> None:
    with pytest.raises(RequestError):
        await Administration(lambda: VIEW).answer(ask(operation="status"), "a1")
