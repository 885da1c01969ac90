"""The functions that register workers: they read, change and write the configuration, unlocked.

As in the application, what one of them writes while another looks at a worker is lost (G-3).
"""

import json
from typing import Any

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.testing.supabase.state import State

HEALTH_S = 5.0
"""How long a function waits for `/health` (G-2)."""


async def update_worker_url(state: State, request: Request) -> Response:
    """Store where images and videos are made; 400 unless the worker answers."""
    asked = await _asked(state, request)
    if isinstance(asked, Response):
        return asked
    config, url, now = (
        await state.database.config(),
        asked["worker_url"],
        rfc3339(state.clock.now()),
    )
    health = await _look(state, url)
    if not health["isHealthy"]:
        return JSONResponse({"success": False, "error": "Worker is not reachable"}, 400)
    config |= {
        "workerUrl": url,
        "worker_url": url,
        "workerUrlUpdatedAt": now,
        "autoRegistered": asked.get("auto_registered", False),
        "auto_registered": asked.get("auto_registered", False),
        "registrationMethod": asked.get("registration_method"),
        "registration_method": asked.get("registration_method"),
        "detectionMethod": asked.get("detection_method"),
        "detection_method": asked.get("detection_method"),
        "lastRegistrationAttempt": now,
        "last_health_check": now,
        "worker_status": "active",
    }
    await state.database.write_config(config)
    return JSONResponse({"success": True, "workerUrl": url})


async def register_chat_worker(state: State, request: Request) -> Response:
    """Store where chat is, reachable or not; the cache entry loses its address (G-4)."""
    asked = await _asked(state, request)
    if isinstance(asked, Response):
        return asked
    config, url, now = (
        await state.database.config(),
        asked["worker_url"],
        rfc3339(state.clock.now()),
    )
    health = await _look(state, url)
    told = "healthy" if health["isHealthy"] else "unhealthy"
    config["chatWorkerUrl"] = url
    config["chatWorkerRegistrationInfo"] = {
        "auto_registered": asked.get("auto_registered", False),
        "last_health_check": now,
        "health_status": told,
        "last_updated": now,
        "response_time_ms": health["responseTimeMs"],
    }
    cache = config.setdefault("workerHealthCache", {})
    cache["chatWorker"] = health
    await state.database.write_config(config)
    return JSONResponse({"success": True, "healthStatus": told})


async def health_check_workers(state: State, request: Request) -> Response:
    """Look at both workers and store how they are."""
    if state.role_of(request) is None:
        return _unauthorized()
    config = await state.database.config()
    entries = {"wanWorker": config.get("workerUrl"), "chatWorker": config.get("chatWorkerUrl")}
    config["workerHealthCache"] = {
        name: {**await _look(state, url), "workerUrl": url} for name, url in entries.items() if url
    }
    await state.database.write_config(config)
    return JSONResponse({"success": True, "results": config["workerHealthCache"]})


async def _asked(state: State, request: Request) -> dict[str, Any] | Response:
    if state.role_of(request) is None:
        return _unauthorized()
    try:
        asked = json.loads(await request.body())
    except ValueError:
        asked = None
    if not isinstance(asked, dict) or not isinstance(asked.get("worker_url"), str):
        return JSONResponse({"success": False, "error": "worker_url is required"}, 400)
    return asked


async def _look(state: State, url: str) -> dict[str, Any]:
    """What the cache keeps of one look at a worker; every answer of 2xx with a body is healthy."""
    began, fault = state.clock.monotonic(), None
    try:
        async with httpx.AsyncClient(trust_env=False, timeout=HEALTH_S) as client:
            reply = await client.get(f"{url}/health")
        healthy = reply.is_success and bool(reply.content)
        fault = None if healthy else f"HTTP {reply.status_code}"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        healthy, fault = False, type(error).__name__
    return {
        "isHealthy": healthy,
        "lastChecked": rfc3339(state.clock.now()),
        "responseTimeMs": round((state.clock.monotonic() - began) * 1000),
        "healthError": fault,
    }


def _unauthorized() -> Response:
    return JSONResponse({"code": 401, "message": "Invalid JWT"}, 401)
