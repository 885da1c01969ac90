"""Contract 2.4 and 2.5: what the worker says of itself."""

import json
from typing import Any

import pytest
from msgspec.structs import replace

from ourvidz_worker.api.app import ROWS, openapi_document
from ourvidz_worker.api.call import Side
from ourvidz_worker.api.problems import is_speakable
from ourvidz_worker.domain.health import Depth, HealthStatus
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.testing.desks import VERSION, FakePod, client_of

pytestmark = pytest.mark.anyio

SIDES: tuple[Side, Side] = ("wan", "chat")


async def get(pod: FakePod, path: str, *, side: Side = "wan") -> dict[str, Any]:
    """The JSON reply to a call without a key."""
    async with client_of(pod.app(side=side), key=None) as client:
        reply = await client.get(path)
    told: dict[str, Any] = reply.json()
    assert told.pop("request_id") == reply.headers["x-request-id"]
    return told


async def test_both_ports_serve_every_route() -> None:
    """H-1, H-2: the port only selects the type and the defaults."""
    wan, chat = [await get(FakePod(), "/", side=side) for side in SIDES]
    assert wan["endpoints"] == chat["endpoints"]
    for side in SIDES:
        async with client_of(FakePod().app(side=side), key=None) as client:
            for row in ROWS:
                reply = await client.options(row.path.replace("{", "").replace("}", ""))
                assert reply.status_code == 204


async def test_the_front_door() -> None:
    """2.4: what answers here."""
    told = await get(FakePod(), "/")
    assert (told["service"], told["status"]) == ("ourvidz-worker", "healthy")
    assert told["version"] == VERSION
    assert set(told["endpoints"]) == {row.path for row in ROWS}


@pytest.mark.parametrize("path", ["/worker/info", "/info", "/status", "/api/status"])
@pytest.mark.parametrize(
    ("side", "kinds", "model"),
    [("wan", ["sdxl", "wan"], "pocket-sdxl"), ("chat", ["chat"], "pocket-chat")],
)
async def test_worker_info(path: str, side: Side, kinds: list[str], model: str) -> None:
    """2.4, H-2: the port selects the type, the default model and nothing else."""
    told = await get(FakePod(), path, side=side)
    assert (told["worker_type"], told["worker_types"], told["model"]) == (side, kinds, model)
    assert told["architecture"] == "pure_inference_engine"
    assert {"pure_inference", "no_prompt_overrides", "enhanced_logging"} <= set(
        told["capabilities"]
    )
    assert told["capability_details"] == {
        "chat": True,
        "enhancement": True,
        "generation": True,
        "pure_inference": True,
        "hardcoded_prompts": False,
        "prompt_modification": False,
    }
    assert {"no_hardcoded_prompts", "edge_function_control"} <= set(told["security_features"])
    assert set(told["job_types"]) == set(JOB_TYPES)
    assert told["endpoints"]
    assert {"none", "single", "start", "end", "both"} <= set(told["reference_modes"])
    assert told["models_loaded"] == {
        "instruct_loaded": False,
        "base_loaded": False,
        "sdxl_loaded": True,
        "wan_loaded": False,
        "active_model_type": None,
    }
    assert told["model_loaded"] is True
    assert told["limits"] == {"max_output_tokens": 4096}
    assert told["stats"]["requests_served"] == 3


async def test_questions_about_the_pod_count_under_chat() -> None:
    """H-11, J-2: they lie in the chat list, so that the figures are its length."""
    pod = FakePod()
    queue = {Lane.CHAT: Depth(waiting=2, leased=1), Lane.ADMIN: Depth(waiting=3, leased=4)}
    pod.view.view = replace(pod.view.view, queue=queue)
    told = await get(pod, "/health")
    assert told["queue"]["chat"] == {"waiting": 5, "in_progress": 5}
    assert set(told["queue"]) == {"sdxl", "wan", "chat"}


async def test_health_has_every_member() -> None:
    """H-11; and H-22 for the list of addresses."""
    told = await get(FakePod(), "/health")
    endpoints = told.pop("endpoints")
    assert {"/chat", "/v1/jobs"} <= set(endpoints)
    assert told == {
        "status": "healthy",
        "worker_type": "wan",
        "ready": True,
        "model_loaded": True,
        "capabilities": {"chat": True, "enhancement": True, "generation": True, "jobs": True},
        "queue": {
            "sdxl": {"waiting": 2, "in_progress": 1},
            "wan": {"waiting": 0, "in_progress": 0},
            "chat": {"waiting": 0, "in_progress": 0},
        },
        "models_loaded": {
            "instruct_loaded": False,
            "base_loaded": False,
            "sdxl_loaded": True,
            "wan_loaded": False,
            "active_model_type": None,
        },
        "draining": False,
        "uptime": 12.5,
        "stats": {"requests_served": 3, "jobs_completed": 2},
        "problems": [],
        "timestamp": "2023-11-14T22:13:20.000Z",
        "version": VERSION,
    }


async def test_health_asks_for_its_own_side() -> None:
    """H-2, H-12: readiness is that of the port's default model."""
    pod = FakePod()
    assert (await get(pod, "/health", side="chat"))["worker_type"] == "chat"
    assert pod.view.sides == ["chat"]


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("healthy", 200),
        ("starting", 200),
        ("degraded", 200),
        ("draining", 503),
        ("unhealthy", 503),
    ],
)
async def test_health_s_status_is_its_state(status: HealthStatus, code: int) -> None:
    """H-12: starting and degraded are 200, draining and unhealthy 503."""
    pod = FakePod()
    problems = ("the image lane is down", "no information")
    pod.view.view = replace(pod.view.view, status=status, ready=False, problems=problems)
    async with client_of(pod.app(), key=None) as client:
        reply = await client.get("/health")
    assert (reply.status_code, reply.json()["status"], reply.json()["ready"]) == (
        code,
        status,
        False,
    )
    assert reply.json()["problems"] == ["the image lane is down"]
    assert is_speakable(reply.text)
    assert reply.headers["cache-control"] == "no-store"


async def test_metrics_are_prometheus_text() -> None:
    pod = FakePod()
    workers: dict[Lane, Any] = {Lane.CHAT: {"running": 3}, Lane.IMAGE: {}}
    pod.view.view = replace(pod.view.view, workers=workers)
    async with client_of(pod.app()) as client:
        reply = await client.get("/metrics")
    assert reply.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = reply.text.splitlines()
    assert 'ourvidz_jobs_waiting{lane="image"} 2' in lines
    assert 'ourvidz_attempts_running{lane="chat"} 3' in lines
    assert 'ourvidz_attempts_running{lane="image"} 0' in lines
    assert "# TYPE ourvidz_requests_served_total counter" in lines
    names = {line.split()[2] for line in lines if line.startswith("#")}
    assert {line.partition("{")[0].split()[0] for line in lines if line[0] != "#"} == names


async def test_the_document_is_served_as_it_is_printed() -> None:
    async with client_of(FakePod().app()) as client:
        reply = await client.get("/openapi.json")
    assert reply.headers["content-type"] == "application/json"
    assert reply.json() == json.loads(json.dumps(openapi_document(VERSION)))
