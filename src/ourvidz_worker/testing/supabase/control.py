"""The way to steer the emulator from another process, and the pods that it plays itself."""

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from ourvidz_worker.testing.supabase.faults import Fault
from ourvidz_worker.testing.supabase.state import State

HEALTHY = 200


def control_routes(state: State) -> list[Route]:
    """Faults, records and objects under `/_control`; pods under `/_pod`."""

    async def add_fault(request: Request) -> Response:
        state.faults.add(msgspec.json.decode(await request.body(), type=Fault))
        return Response(status_code=204)

    async def clear_faults(_: Request) -> Response:
        state.faults.clear()
        return Response(status_code=204)

    async def calls(request: Request) -> Response:
        name, part = (request.query_params.get(key, "") for key in ("name", "part"))
        found = [
            call
            for call in state.calls
            if name in {"", call.name} and (part in call.path or part.encode() in call.body)
        ]
        return Response(msgspec.json.encode(found), media_type="application/json")

    async def complaints(_: Request) -> Response:
        return JSONResponse(state.complaints)

    async def names(_: Request) -> Response:
        return JSONResponse(sorted(state.objects))

    async def health(request: Request) -> Response:
        status = state.pods.get(request.path_params["name"], HEALTHY)
        return JSONResponse({"status": "healthy" if status == HEALTHY else "unhealthy"}, status)

    async def set_health(request: Request) -> Response:
        state.pods[request.path_params["name"]] = int(await request.body())
        return Response(status_code=204)

    return [
        Route("/_control/faults", add_fault, methods=["POST"]),
        Route("/_control/faults", clear_faults, methods=["DELETE"]),
        Route("/_control/calls", calls),
        Route("/_control/complaints", complaints),
        Route("/_control/objects", names),
        Route("/_pod/{name}/health", health, methods=["GET"]),
        Route("/_pod/{name}/health", set_health, methods=["PUT"]),
    ]
