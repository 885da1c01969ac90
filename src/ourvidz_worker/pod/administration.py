"""Administration: questions about the pod itself, answered by the pod (contract 3.6, J-2)."""

from collections.abc import Callable
from typing import Any

import msgspec

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.health import HealthView
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.messages import Finished
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.domain.request import AdminRequest

MIB = 1 << 20


class Administration:
    """Answers the read-only operations; needs no worker and no device."""

    def __init__(self, look: Callable[[], HealthView]) -> None:
        """`look` returns the pod's present snapshot."""
        self._look = look

    def answer(self, request: AdminRequest, attempt_id: str) -> Finished:
        """The answer as an attempt's outcome: one text, a JSON object."""
        result = self._result(request.operation, self._look())
        text = msgspec.json.encode(result).decode()
        return Finished(
            attempt_id=attempt_id,
            artifacts=(
                Artifact(index=0, media=Media.TEXT, text=text, metadata={"asset_index": 0}),
            ),
            receipt=Receipt(engine="pod"),
        )

    def _result(self, operation: str, view: HealthView) -> dict[str, Any]:
        workers = {lane.value: dict(worker) for lane, worker in view.workers.items()}
        if operation == "health":
            depths = msgspec.to_builtins({lane.value: depth for lane, depth in view.queue.items()})
            return {"status": view.status, "ready": view.ready, "queue": depths}
        if operation == "worker_info":
            return {"workers": workers, "models_loaded": view.models_loaded, "stats": view.stats}
        if operation == "enhancement_info":
            return {"source": "qwen_base", "mode": "continuation", "max_new_tokens": 150}
        memory = {lane: _memory(worker) for lane, worker in workers.items()}
        if operation == "memory_report":
            return {"worker_status": memory, "models_loaded": view.models_loaded}
        return {"workers": {lane: entry["state"] for lane, entry in memory.items()}}


def _memory(worker: dict[str, Any]) -> dict[str, Any]:
    """One worker's host memory in MiB; device memory is not counted yet."""
    return {
        "state": worker.get("state"),
        "loaded": worker.get("state") == "ready",
        "host_memory": round(int(worker.get("rss_bytes") or 0) / MIB),
        "in_use": bool(worker.get("running")),
    }
