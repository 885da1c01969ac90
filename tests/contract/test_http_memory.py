"""Contract 2.4 and 9 over HTTP: `/memory/*`, `/emergency/operation`, `/debug/model`."""

from typing import Any

import pytest

from ourvidz_worker.api.call import Side
from ourvidz_worker.domain.errors import Conflict, OurvidzError, OutOfMemory, Unavailable
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import Operation, Order
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

CHAT, IMAGE, VIDEO = (Lane.CHAT,), (Lane.IMAGE,), (Lane.VIDEO,)


async def post(
    pod: FakePod, path: str, body: object = None, *, side: Side = "wan", status: int = 200
) -> dict[str, Any]:
    """The JSON reply to a call with a key."""
    async with client_of(pod.app(side=side)) as client:
        reply = await client.post(path, json=body)
    assert reply.status_code == status, reply.text
    told: dict[str, Any] = reply.json()
    assert told["request_id"] == reply.headers["x-request-id"]
    return told


@pytest.mark.parametrize(
    ("side", "loaded", "unloaded"),
    [("wan", IMAGE, (Lane.IMAGE, Lane.VIDEO)), ("chat", CHAT, CHAT)],
)
async def test_each_port_has_its_own_defaults(
    side: Side, loaded: tuple[Lane, ...], unloaded: tuple[Lane, ...]
) -> None:
    """2.4: 7861 loads `instruct`, 7860 `sdxl`; both unload all of their own models."""
    pod = FakePod()
    told = await post(pod, "/memory/load", side=side)
    assert told["success"] is True
    assert set(told) == {"success", "message", "models_loaded", "request_id"}
    assert told["models_loaded"]["sdxl_loaded"] is True
    await post(pod, "/memory/unload", {}, side=side)
    assert pod.memory.loads == [(loaded, False)]
    assert pod.memory.unloads == [(unloaded, False)]


@pytest.mark.parametrize(
    ("which", "lanes"),
    [
        ("instruct", CHAT),
        ("chat", CHAT),
        ("SDXL", IMAGE),
        ("wan", VIDEO),
        ("all", (Lane.IMAGE, Lane.VIDEO)),
    ],
)
async def test_which_and_force_come_from_the_query_or_the_body(
    which: str, lanes: tuple[Lane, ...]
) -> None:
    """2.4: query string or JSON body; the body goes first."""
    pod = FakePod()
    await post(pod, f"/memory/load?which={which}&force=true&other=1")
    await post(pod, "/memory/load", {"which": which, "force": True, "other": 1})
    await post(pod, "/memory/load?which=sdxl&force=1", {"which": which, "force": False})
    assert pod.memory.loads == [(lanes, True), (lanes, True), (lanes, False)]
    await post(pod, f"/memory/unload?which={which}&force=true")
    assert pod.memory.unloads == [(lanes, True)]


async def test_no_body_is_no_fault_and_another_type_is() -> None:
    """H-3: a body that is not JSON is a 415; none at all is an empty object."""
    pod = FakePod()
    async with client_of(pod.app()) as client:
        form = {"content-type": "application/x-www-form-urlencoded"}
        assert (await client.post("/memory/load", headers=form)).status_code == 200
        reply = await client.post("/memory/load", data={"which": "wan"})
        assert (reply.status_code, reply.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert (await client.post("/memory/load", content=b"{}")).status_code == 415


@pytest.mark.parametrize("path", ["/memory/load", "/memory/unload"])
@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("?which=everything", None),
        ("?force=perhaps", None),
        ("", {"which": "everything"}),
        ("", {"which": 1}),
        ("", {"force": "true"}),
        ("", {"force": 1}),
    ],
)
async def test_an_unknown_which_is_refused(path: str, query: str, body: object) -> None:
    """2.4: unknown `which` is a 400; H-5: numbers are no booleans."""
    pod = FakePod()
    told = await post(pod, path + query, body, status=400)
    assert told["code"] == "INVALID_REQUEST"
    assert "everything" not in told["error"]
    assert (pod.memory.loads, pod.memory.unloads) == ([], [])


@pytest.mark.parametrize("which", ["base", "qwen"])
async def test_base_is_loaded_with_the_chat_worker_if_there_is_one(which: str) -> None:
    """2.4: `qwen` is `base`; a pod without a Base model says so."""
    pod = FakePod()
    told = await post(pod, f"/memory/load?which={which}", side="chat", status=503)
    assert told["code"] == "MODEL_LOAD_ERROR"
    pod.view.view.models_loaded["base_loaded"] = True
    await post(pod, f"/memory/load?which={which}", side="chat")
    assert pod.memory.loads == [(CHAT, False), (CHAT, False)]


@pytest.mark.parametrize(
    ("error", "status"),
    [(OutOfMemory(), 503), (Conflict(), 409), (Unavailable(), 503)],
)
async def test_what_cannot_be_done_is_told_by_its_code(error: OurvidzError, status: int) -> None:
    """2.4, 9: no room is 503 `OOM_ERROR`, in use is 409."""
    pod = FakePod()
    pod.memory.error = error
    for path, body in (
        ("/memory/load", {}),
        ("/memory/unload", {}),
        ("/emergency/operation", {"operation": "force_cleanup"}),
    ):
        assert (await post(pod, path, body, status=status))["code"] == error.code


async def test_the_status_is_flat_and_needs_no_key() -> None:
    """9, A-2: members and units; without a device 503 `WORKER_UNAVAILABLE`."""
    pod = FakePod()
    async with client_of(pod.app(side="chat"), key=None) as client:
        told = (await client.get("/memory/status")).json()
        pod.memory.error = Unavailable()
        reply = await client.get("/memory/status")
    assert (reply.status_code, reply.json()["code"]) == (503, "WORKER_UNAVAILABLE")
    assert told.pop("request_id")
    assert told == {
        "total_vram": 48.0,
        "allocated_vram": 25.0,
        "available_vram": 21.0,
        "model_loaded": True,
        "instruct_loaded": True,
        "base_loaded": False,
        "sdxl_loaded": True,
        "wan_loaded": False,
        "memory_fraction": 0.31,
        "worker_type": "chat",
        "vram_usage": {"total": 49_152, "used": 25_600, "free": 23_552, "pressure": "low"},
        "workers": {"sdxl_worker": "loaded", "chat_worker": "loaded", "wan_worker": "unloaded"},
        "memory_allocation": {"sdxl": "10 GiB", "chat": "15 GiB", "wan": "30 GiB"},
    }


async def test_the_report_has_every_member() -> None:
    async with client_of(FakePod().app()) as client:
        told = (await client.get("/memory/report")).json()
    assert set(told) == {
        "pressure_level",
        "available_vram",
        "worker_status",
        "recommendations",
        "predictions",
        "events",
        "request_id",
    }


@pytest.mark.parametrize("operation", list(Operation))
async def test_every_operation_is_taken(operation: Operation) -> None:
    """9: the operation and its arguments reach the memory as they were given."""
    pod = FakePod()
    told = await post(
        pod,
        "/emergency/operation",
        {
            "operation": operation.value,
            "target_worker": "wan_worker",
            "required_gb": 12.5,
            "force": True,
            "reason": "a test",
        },
    )
    assert set(told) == {
        "success",
        "operation",
        "action_taken",
        "freed_gb",
        "before",
        "after",
        "pressure",
        "request_id",
    }
    assert (told["success"], told["operation"]) == (True, operation.value)
    assert pod.memory.orders == [
        Order(operation=operation, target=Lane.VIDEO, required_gb=12.5, force=True, reason="a test")
    ]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"operation": "explode"},
        {"operation": 1},
        {"operation": "status", "target_worker": "gpu"},
        {"operation": "status", "required_gb": 0},
        {"operation": "status", "required_gb": True},
        {"operation": "status", "force": 1},
    ],
)
async def test_an_operation_that_is_none_is_refused(body: dict[str, object]) -> None:
    """9: unknown is a 400."""
    pod = FakePod()
    told = await post(pod, "/emergency/operation", body, status=400)
    assert told["code"] == "INVALID_REQUEST"
    assert pod.memory.orders == []


async def test_debug_model_tells_models_and_devices_and_no_paths() -> None:
    """2.4: `/debug/model`; and H-3: there is no `/debug/env`."""
    async with client_of(FakePod().app()) as client:
        reply = await client.get("/debug/model")
        assert (await client.get("/debug/env")).status_code == 404
    told = reply.json()
    assert told.pop("request_id")
    assert told == {
        "active_model_type": None,
        "instruct_loaded": False,
        "base_loaded": False,
        "devices": {"sdxl": "cpu"},
        "stats": {"requests_served": 3, "jobs_completed": 2},
    }
    assert "/" not in reply.text
