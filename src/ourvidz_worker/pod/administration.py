"""Administration: questions about the pod itself, answered by the pod (contract 3.6, J-2)."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import RequestError, Unavailable
from ourvidz_worker.domain.health import HealthView
from ourvidz_worker.domain.intake.chat import CHANGES
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import (
    WORKER_NAMES,
    MemoryReport,
    MemoryStatus,
    Operation,
    OperationReply,
    Order,
    Side,
)
from ourvidz_worker.domain.messages import Finished
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import AdminRequest
from ourvidz_worker.pod.enhancement import MAX_NEW_TOKENS

log = logging.getLogger(__name__)

MIB = 1 << 20
SIDE: Side = "chat"
"""Questions come through the chat queue, so they are answered as that port answers them."""

LANES: dict[str, Lane] = {name: lane for lane, name in WORKER_NAMES.items()}
"""The lane of each worker, by the contract's name."""


class Memory(Protocol):
    """What the pod knows and can do about device memory (contract 9)."""

    def memory_status(self, side: Side) -> MemoryStatus:
        """How the memory is used. Raises `Unavailable` where there is no device."""
        ...

    def memory_report(self) -> MemoryReport:
        """Every worker's memory, and what is expected."""
        ...

    async def operate(self, order: Order) -> OperationReply:
        """Carry out one operation. Raises `OutOfMemory` when it did not achieve its end."""
        ...


class Administration:
    """Answers operations; needs no worker, and no device unless it is to change its memory."""

    def __init__(
        self,
        look: Callable[[], HealthView],
        memory: Memory | None = None,
        *,
        enhancement_mode: str = "continuation",
    ) -> None:
        """`look` returns the pod's present snapshot; `enhancement_mode` is `operator` where the
        operator has instructions of their own.
        """
        self._look = look
        self._memory = memory
        self._enhancement_mode = enhancement_mode

    async def answer(self, request: AdminRequest, attempt_id: str) -> Finished:
        """The answer as an attempt's outcome: one text, a JSON object.

        Raises what `Memory` raises.
        """
        text = msgspec.json.encode(await self._result(request)).decode()
        return Finished(
            attempt_id=attempt_id,
            artifacts=(
                Artifact(index=0, media=Media.TEXT, text=text, metadata={"asset_index": 0}),
            ),
            receipt=Receipt(engine="pod"),
        )

    async def _result(self, request: AdminRequest) -> object:
        operation = request.operation
        if operation in CHANGES or operation in {"status", "pressure_check"}:
            return await self._operate(request)
        if self._memory is not None and operation == "memory_report":
            return self._memory.memory_report()
        if self._memory is not None and operation == "memory_status":
            try:
                return self._memory.memory_status(SIDE)
            except Unavailable:
                log.debug("no device to tell of")
        return self._told_by_the_pod(operation, self._look())

    async def _operate(self, request: AdminRequest) -> object:
        if self._memory is None:
            raise RequestError("This pod keeps no account of device memory.", field="operation")
        order = Order(
            operation=Operation(request.operation),
            target=None if request.target is None else LANES[request.target],
            required_gb=request.required_gb,
            force=request.force,
            reason=request.reason,
        )
        return await self._memory.operate(order)

    def _told_by_the_pod(self, operation: str, view: HealthView) -> dict[str, Any]:
        workers = {lane.value: dict(worker) for lane, worker in view.workers.items()}
        if operation == "health":
            depths = msgspec.to_builtins({lane.value: depth for lane, depth in view.queue.items()})
            return {"status": view.status, "ready": view.ready, "queue": depths}
        if operation == "worker_info":
            return {"workers": workers, "models_loaded": view.models_loaded, "stats": view.stats}
        if operation == "enhancement_info":
            return {
                "source": "qwen_base",
                "mode": self._enhancement_mode,
                "max_new_tokens": MAX_NEW_TOKENS,
            }
        memory = {lane: _memory(worker) for lane, worker in workers.items()}
        if operation == "memory_report":
            return {"worker_status": memory, "models_loaded": view.models_loaded}
        return {"workers": {lane: entry["state"] for lane, entry in memory.items()}}


def _memory(worker: dict[str, Any]) -> dict[str, Any]:
    """One worker's host memory in MiB, where nobody counts the device's."""
    return {
        "state": worker.get("state"),
        "loaded": worker.get("state") == "ready",
        "host_memory": round(int(worker.get("rss_bytes") or 0) / MIB),
        "in_use": bool(worker.get("running")),
    }
