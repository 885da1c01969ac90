"""Rows over HTTP: `select`, equality filters and PATCH, with a key that may or may not read."""

import json
from typing import Any

import psycopg
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ourvidz_worker.testing.supabase.database import TABLES
from ourvidz_worker.testing.supabase.state import State

READ_ONLY_PARAMETERS = frozenset({"select", "limit", "order"})
EQUALS = "eq."


async def get(state: State, request: Request) -> Response:
    """`GET /rest/v1/{table}?select=…&column=eq.value`; without rights an empty list."""
    table, role = request.path_params["table"], state.role_of(request)
    refused = _refused(table, role, request)
    if refused is not None:
        return refused
    if role == "anon":
        return JSONResponse([])
    columns = [name for name in request.query_params.get("select", "*").split(",") if name != "*"]
    try:
        rows = await state.database.select(table, columns, _filters(request))
    except psycopg.Error as error:
        return _database_error(error)
    return _rows(rows)


async def patch(state: State, request: Request) -> Response:
    """`PATCH /rest/v1/{table}?column=eq.value`; 204, or the rows if the caller prefers them."""
    table, role = request.path_params["table"], state.role_of(request)
    refused = _refused(table, role, request)
    if refused is not None:
        return refused
    if not _filters(request):
        return JSONResponse({"code": "21000", "message": "UPDATE requires a WHERE clause"}, 400)
    if role == "anon":
        return Response(status_code=204)
    try:
        values = json.loads(await request.body())
        rows = await state.database.update(table, values, _filters(request))
    except psycopg.Error as error:
        return _database_error(error)
    if "return=representation" in request.headers.get("prefer", ""):
        return _rows(rows)
    return Response(status_code=204)


def _refused(table: str, role: str | None, request: Request) -> Response | None:
    if "apikey" not in request.headers:
        return JSONResponse({"message": "No API key found in request"}, 401)
    if role is None:
        return JSONResponse({"message": "Invalid API key"}, 401)
    if table not in TABLES:
        return JSONResponse({"code": "42P01", "message": "relation does not exist"}, 404)
    return None


def _filters(request: Request) -> dict[str, str]:
    """Column to value; every filter that the contract uses is an equality."""
    return {
        name: value.removeprefix(EQUALS)
        for name, value in request.query_params.items()
        if name not in READ_ONLY_PARAMETERS and value.startswith(EQUALS)
    }


def _database_error(error: psycopg.Error) -> Response:
    return JSONResponse({"code": error.sqlstate, "message": "the database refused"}, 400)


def _rows(rows: list[dict[str, Any]]) -> Response:
    return Response(json.dumps(rows, default=str), media_type="application/json")
