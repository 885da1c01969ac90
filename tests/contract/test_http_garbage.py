"""Whatever is sent, the reply is JSON, an error is a problem, and nothing breaks."""

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ourvidz_worker.api.app import ROWS
from ourvidz_worker.api.problems import FORBIDDEN
from ourvidz_worker.api.row import Row
from ourvidz_worker.testing.desks import FakePod, client_of

BODY_ROWS = [row for row in ROWS if row.method in {"POST", "PUT"}]
IDS = [f"{row.method} {row.path}" for row in BODY_ROWS]

NAMES = st.sampled_from(
    [
        *("messages", "role", "content", "prompt", "inputs", "model", "config", "parameters"),
        *("max_tokens", "temperature", "top_p", "top_k", "stop", "seed", "stream", "truncate"),
        *("id", "type", "user_id", "sfw_mode", "max_new_tokens", "do_sample"),
    ]
)
WORDS = st.sampled_from(["user", "system", "qwen_base", "oldest", "sdxl_image_fast", "inf", "nan"])
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    WORDS,
    st.just({"role": "user", "content": "x"}),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.one_of(NAMES, st.text(max_size=8)), VALUES, max_size=8)
AS_JSON = OBJECTS.map(lambda value: json.dumps(value).encode())
CUT = st.tuples(AS_JSON, st.integers(0, 200)).map(lambda pair: pair[0][: pair[1]])
BODIES = st.one_of(AS_JSON, CUT, st.binary(max_size=200), VALUES.map(json.dumps).map(str.encode))
MEDIA_TYPES = st.sampled_from(
    ["application/json", "application/json; charset=utf-16", "image/png", "text/html", "", None]
)
QUERIES = st.dictionaries(
    st.sampled_from(["user_id", "limit", "x"]), st.text(max_size=10), max_size=2
)
CALM = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def check(reply: httpx.Response) -> None:
    """Assert that a reply is what any reply must be."""
    assert reply.status_code < 500, reply.text
    assert len(reply.headers["x-request-id"]) == 36
    if reply.status_code >= 400:
        assert reply.headers["content-type"] == "application/problem+json"
        assert reply.json()["status"] == reply.status_code
        assert reply.json()["success"] is False
        assert [word for word in FORBIDDEN if word in reply.text.lower()] == []
    elif reply.headers["content-type"] == "application/json":
        assert reply.json()["request_id"] == reply.headers["x-request-id"]


def exchange(call: Callable[[httpx.AsyncClient], Any]) -> httpx.Response:
    """One call to a fresh pod, in a loop of its own."""

    async def run() -> httpx.Response:
        async with client_of(FakePod().app()) as client:
            reply: httpx.Response = await call(client)
            return reply

    return asyncio.run(run())


@pytest.mark.parametrize("row", BODY_ROWS, ids=IDS)
@CALM
@given(body=BODIES, media_type=MEDIA_TYPES, query=QUERIES)
def test_any_body_to_any_route(
    row: Row, body: bytes, media_type: str | None, query: dict[str, str]
) -> None:
    headers = {} if media_type is None else {"Content-Type": media_type}
    path = row.path.format(job_id="j", letter_id="l", callback_id="7")
    check(
        exchange(
            lambda client: client.request(
                row.method, path, content=body, headers=headers, params=query
            )
        )
    )


@pytest.mark.parametrize("row", BODY_ROWS, ids=IDS)
@CALM
@given(body=AS_JSON)
def test_any_object_to_any_route(row: Row, body: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    path = row.path.format(job_id="j", letter_id="l", callback_id="7")
    check(exchange(lambda client: client.request(row.method, path, content=body, headers=headers)))


@CALM
@given(
    path=st.text(max_size=30),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "TRACE", "X"]),
    query=st.text(max_size=30),
)
def test_any_path_and_method(path: str, method: str, query: str) -> None:
    url = f"/{quote(path, safe='/')}?{quote(query)}"
    check(exchange(lambda client: client.request(method, url)))
