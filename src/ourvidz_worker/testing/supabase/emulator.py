"""The emulator as an application: its routes, and the faults and records around them."""

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ourvidz_worker.testing.supabase import job_callback, objects, registration, tables
from ourvidz_worker.testing.supabase.answers import Cut, Silence
from ourvidz_worker.testing.supabase.control import control_routes
from ourvidz_worker.testing.supabase.faults import MAX_BODY, Call, Fault, seen_headers
from ourvidz_worker.testing.supabase.state import State

Endpoint = Callable[[State, Request], Awaitable[Response]]

OBJECT = "/storage/v1/object"

#: Method, path and the call's name; the first that matches counts.
ROUTES: tuple[tuple[str, str, str, Endpoint], ...] = (
    ("POST", f"{OBJECT}/sign/{{bucket}}/{{key:path}}", "storage.sign", objects.sign),
    ("GET", f"{OBJECT}/sign/{{bucket}}/{{key:path}}", "storage.signed", objects.signed),
    ("GET", f"{OBJECT}/public/{{bucket}}/{{key:path}}", "storage.public", objects.public),
    ("POST", f"{OBJECT}/{{bucket}}/{{key:path}}", "storage.put", objects.put),
    ("GET", f"{OBJECT}/{{bucket}}/{{key:path}}", "storage.get", objects.get),
    ("DELETE", f"{OBJECT}/{{bucket}}", "storage.delete", objects.delete),
    ("GET", "/storage/v1/bucket/{bucket}", "storage.bucket", objects.bucket_info),
    ("GET", "/rest/v1/{table}", "rest.get", tables.get),
    ("PATCH", "/rest/v1/{table}", "rest.patch", tables.patch),
    ("POST", "/functions/v1/job-callback", "job-callback", job_callback.take),
    (
        "POST",
        "/functions/v1/update-worker-url",
        "update-worker-url",
        registration.update_worker_url,
    ),
    (
        "POST",
        "/functions/v1/register-chat-worker",
        "register-chat-worker",
        registration.register_chat_worker,
    ),
    (
        "POST",
        "/functions/v1/health-check-workers",
        "health-check-workers",
        registration.health_check_workers,
    ),
)


def make_emulator(state: State) -> Starlette:
    """The application over `state`; the database is open while it runs."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await state.database.open()
        yield
        await state.database.close()

    routes = [
        Route(path, _recorded(state, name, endpoint), methods=[method])
        for method, path, name, endpoint in ROUTES
    ]
    return Starlette(routes=[*routes, *control_routes(state)], lifespan=lifespan)


def _recorded(
    state: State, name: str, endpoint: Endpoint
) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        call = await _record(state, name, request)
        fault = state.faults.take(name, call.path)
        if fault is not None and not (fault.executed or fault.how == "lose"):
            return _failed(call, fault)
        before = await state.database.config() if fault is not None and fault.how == "lose" else {}
        response = await endpoint(state, request)
        call.executed = True
        if fault is not None and fault.how == "lose":
            await state.database.write_config(before)
        elif fault is not None:
            return _failed(call, fault)
        call.status = response.status_code
        return response

    return answer


async def _record(state: State, name: str, request: Request) -> Call:
    body = await request.body()
    query = f"?{request.url.query}" if request.url.query else ""
    call = Call(
        name=name,
        method=request.method,
        path=request.url.path + query,
        headers=seen_headers(request.headers),
        size=len(body),
        sha256=hashlib.sha256(body).hexdigest(),
        body=body if len(body) <= MAX_BODY else b"",
        at=state.clock.now(),
    )
    state.record(call)
    return call


def _failed(call: Call, fault: Fault) -> Response:
    if fault.how == "hang":
        return Silence()
    if fault.how == "cut":
        return Cut()
    call.status = fault.status
    return Response(fault.body, fault.status, headers=fault.headers, media_type="application/json")
