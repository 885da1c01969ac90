"""Contract 2.1 and 2.6: every error is a JSON problem, and none holds a forbidden word."""

import ast
import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from ourvidz_worker.api.app import ROWS
from ourvidz_worker.api.problems import FORBIDDEN, SPEAKABLE_NAMES, is_speakable, speaks_openai
from ourvidz_worker.domain import errors
from ourvidz_worker.domain.errors import AttemptError, Conflict, OutOfMemory, Unavailable
from ourvidz_worker.telemetry.log import Action
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.anyio

SOURCE = Path(errors.__file__).parents[1]
CHAT = {"messages": [{"role": "user", "content": "hello"}]}
PROBLEM = "application/problem+json"


def check_problem(reply: httpx.Response, status: int, code: str) -> None:
    """Assert that a reply is a whole problem (H-20, H-22, H-6)."""
    assert (reply.status_code, reply.headers["content-type"]) == (status, PROBLEM)
    told = reply.json()
    request_id = reply.headers["x-request-id"]
    assert told["request_id"] == request_id == str(UUID(request_id))
    assert told["instance"] == f"urn:uuid:{request_id}"
    assert (told["status"], told["code"], told["success"]) == (status, code, False)
    error = told["error"]
    if speaks_openai(reply.request.url.path):
        assert error["code"] == code
        error = error["message"]
    assert told["detail"] == error != ""
    assert told["title"] != ""
    assert told["type"].startswith("urn:")
    assert isinstance(told["retryable"], bool)
    body = reply.text.lower()
    assert [word for word in FORBIDDEN if word in body] == []


def sentences() -> Iterator[tuple[str, str]]:
    """Where, and which, every sentence is that the sources give to an error."""
    classes = {name for name in vars(errors) if isinstance(getattr(errors, name), type)}
    for file in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.args):
                continue
            if node.func.id in classes:
                parts = [
                    part.value
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
                yield f"{file.relative_to(SOURCE)}:{node.lineno}", " ".join(parts)


def test_no_sentence_in_the_sources_holds_a_forbidden_word() -> None:
    """H-22, §12 line 39: every error template is scanned."""
    found = list(sentences())
    for alias in SPEAKABLE_NAMES:
        found = [(where, sentence.replace(alias, "")) for where, sentence in found]
    assert len(found) > 20
    assert [where for where, sentence in found if not is_speakable(sentence)] == []


@pytest.mark.parametrize(
    "path", ["/nothing", "/debug/env", "/chat/", "/v1/jobs/a/b/c", "/v1//jobs", "/%00"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
async def test_unknown_paths(path: str, method: str) -> None:
    """H-3: 404, also for `/debug/env`, which must not exist (§12 line 33)."""
    async with client_of(FakePod().app(), key=None) as client:
        check_problem(await client.request(method, path), 404, "NOT_FOUND")


@pytest.mark.parametrize("path", sorted({row.path for row in ROWS}))
async def test_methods_that_an_address_does_not_take(path: str) -> None:
    """H-3: 405 with Allow; OPTIONS on a path that exists is never a 404."""
    async with client_of(FakePod().app(), key=None) as client:
        reply = await client.request("PATCH", path)
        check_problem(reply, 405, "METHOD_NOT_ALLOWED")
        options = await client.options(path)
    assert (options.status_code, options.content) == (204, b"")
    allowed = set(reply.headers["allow"].split(", "))
    assert allowed == set(options.headers["allow"].split(", "))
    assert allowed >= {row.method for row in ROWS if row.path == path} | {"OPTIONS"}


async def test_head_is_get_without_a_body_but_not_of_a_stream() -> None:
    async with client_of(FakePod().app()) as client:
        head, get = await client.head("/health"), await client.get("/health")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == get.headers["content-length"]
        assert (await client.head("/v1/jobs/j/events")).status_code == 405


@pytest.mark.parametrize(
    "path",
    [
        "/chat",
        "/enhance",
        "/generate",
        "/v1/jobs",
        "/v1/chat/completions",
        "/v1/completions",
        "/emergency/operation",
    ],
)
async def test_bodies_that_are_not_taken(path: str) -> None:
    """H-3: 400, 415 and 413, and every one of them a problem (H-20)."""
    as_json = {"content-type": "application/json"}
    async with client_of(FakePod().app()) as client:
        check_problem(await client.post(path), 400, "INVALID_REQUEST")
        check_problem(await client.post(path, data={"a": "b"}), 415, "UNSUPPORTED_MEDIA_TYPE")
        for raw in (b"{", b'{"a": NaN}', b"[]", b'"\xff"'):
            reply = await client.post(path, content=raw, headers=as_json)
            check_problem(reply, 400, "INVALID_REQUEST")
        large = b'{"prompt": "' + b"a" * (5 << 20) + b'"}'
        reply = await client.post(path, content=large, headers=as_json)
        check_problem(reply, 413, "PAYLOAD_TOO_LARGE")


async def test_what_was_written_is_never_echoed() -> None:
    """H-21."""
    async with client_of(FakePod().app()) as client:
        for body in (
            {"messages": "SECRET"},
            {"messages": [{"role": "SECRET", "content": ""}]},
            CHAT | {"model": "SECRET"},
            CHAT | {"stop": {"SECRET": 1}},
        ):
            reply = await client.post("/chat", json=body)
            check_problem(reply, 400, "INVALID_REQUEST")
            assert "secret" not in reply.text.lower()


@pytest.mark.parametrize(
    ("error", "status"),
    [(OutOfMemory(), 503), (Unavailable(), 503), (Conflict(), 409), (AttemptError(), 500)],
)
async def test_errors_of_the_desks_become_problems(error: errors.OurvidzError, status: int) -> None:
    pod = FakePod()
    pod.texts.error = error
    async with client_of(pod.app()) as client:
        for body in (CHAT, CHAT | {"stream": True}):
            reply = await client.post("/chat", json=body)
            check_problem(reply, status, error.code)
            assert ("retry-after" in reply.headers) is (status == 503)


async def test_what_breaks_is_logged_and_told_without_a_trace(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """H-4: no reply holds a secret, a path or a trace."""
    pod = FakePod()

    async def broken(job_id: str) -> None:
        raise RuntimeError("the secret of /etc/shadow")

    monkeypatch.setattr(pod.jobs, "find", broken)
    with caplog.at_level(logging.ERROR, logger="ourvidz_worker.api"):
        async with client_of(pod.app()) as client:
            reply = await client.get("/v1/jobs/j")
    check_problem(reply, 500, "INTERNAL_ERROR")
    assert "secret" not in reply.text
    record = caplog.records[-1]
    assert vars(record)["action"] is Action.REQUEST_BROKE
    assert vars(record)["request_id"] == reply.headers["x-request-id"]


async def test_our_own_failures_are_logged_with_their_facts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    pod = FakePod()
    pod.texts.error = AttemptError(cause="nobody else is told")
    with caplog.at_level(logging.WARNING, logger="ourvidz_worker.api"):
        async with client_of(pod.app()) as client:
            reply = await client.post("/chat", json=CHAT)
            await client.get("/nothing")
    assert "nobody" not in reply.text
    actions = [vars(record).get("action") for record in caplog.records]
    assert actions == [Action.REQUEST_FAILED]
    assert vars(caplog.records[0])["facts"] == {"cause": "nobody else is told"}


async def test_every_reply_has_an_id_and_forbids_sniffing() -> None:
    """H-6, and H-3: no CORS headers."""
    pod = FakePod()
    async with client_of(pod.app()) as client:
        seen = set()
        for path in ("/", "/health", "/metrics", "/nothing", "/openapi.json"):
            reply = await client.get(path, headers={"X-Request-Id": "mine"})
            seen.add(str(UUID(reply.headers["x-request-id"])))
            assert reply.headers["x-content-type-options"] == "nosniff"
            assert not [name for name in reply.headers if name.startswith("access-control")]
    assert len(seen) == 5


async def test_a_websocket_is_closed() -> None:
    sent: list[str] = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: dict[str, object]) -> None:
        sent.append(str(message["type"]))

    scope = {"type": "websocket", "path": "/chat", "headers": []}
    await FakePod().app()(scope, receive, send)  # type: ignore[arg-type]
    assert sent == ["websocket.close"]
