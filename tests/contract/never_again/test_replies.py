"""Every reply of a real pod: no secret in any, and no error that clients mistake (33 and 39)."""

import socket
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest
from tests.contract.test_http_errors import sentences
from tests.e2e.pods import FAKE, Pod

from ourvidz_worker.api.app import ROWS
from ourvidz_worker.api.problems import (
    FORBIDDEN,
    MEDIA_TYPE,
    SPEAKABLE_NAMES,
    is_speakable,
    problem_response,
)
from ourvidz_worker.domain.errors import BadReference, OurvidzError
from ourvidz_worker.domain.intake import image, video
from ourvidz_worker.testing.desks import FakePod, client_of

pytestmark = pytest.mark.e2e

CANARY = "canary-5f1c"
SECRETS = {
    "WAN_WORKER_API_KEY": f"{CANARY}-wan-key",
    "CHAT_WORKER_API_KEY": f"{CANARY}-chat-key",
    "SDXL_WORKER_API_KEY": f"{CANARY}-sdxl-key",
    "JOB_CALLBACK_SECRET": f"{CANARY}-callback-secret",
    "HF_TOKEN": f"{CANARY}-hub-token",
    "AWS_SECRET_ACCESS_KEY": f"{CANARY}-of-another-program",
    "SOMEBODYS_PASSWORD": f"{CANARY}-password",
}
KEY = SECRETS["WAN_WORKER_API_KEY"]
JOB = "job-1"
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS")
WRITING = frozenset({"POST", "PUT", "PATCH"})
BODIES = (b"", b"{", b'{"messages": 7, "which": "inf", "operation": "nan"}', b"\xff\xfe")
ACTING = ("/memory/load", "/memory/unload", "/emergency/operation")
"""With an empty body these do something: they only get bodies that they refuse."""

NO_DEVICE = "/memory/status"
"""Told as 503 where there is no card (9)."""

OTHER_PATHS = (
    "/debug/env",
    "/inf",
    "/nan",
    "/.env",
    "/chat/",
    "/v1/jobs/inf",
    "/%2e%2e/etc/passwd",
)
TALK = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
GOOD_JOB = {"id": JOB, "type": "sdxl_image_fast", "user_id": "u1", "prompt": "a red apple"}
TEXT_PATHS = ("/chat", "/enhance", "/generate", "/v1/chat/completions")
FIELDS = (
    *image.STEPS_NAMES,
    *image.GUIDANCE_NAMES,
    *image.COUNT_NAMES,
    *video.FRAMES_NAMES,
    *video.MODE_NAMES,
    "config.scheduler",
    "config.sample_solver",
    "config.resolution",
    "config.enhancement_inputs",
    "negative_prompt",
)


class Reply(NamedTuple):
    """One reply, and what it replied to."""

    call: str
    status: int
    media_type: str
    head: str
    body: str


@pytest.fixture(scope="module")
def pod(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pod]:
    """A pod whose every secret can be told from any other text, with one job done."""
    made = Pod(tmp_path_factory.mktemp("replies") / "state", **FAKE, **SECRETS)
    made.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{made.port}") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        assert client.post("/v1/jobs", json=GOOD_JOB).status_code == 202
        client.get(f"/v1/jobs/{JOB}/events", timeout=60)
        assert client.get(f"/v1/jobs/{JOB}").json()["status"] == "completed"
    yield made
    made.close()


@pytest.fixture(scope="module")
def replies(pod: Pod) -> list[Reply]:
    """What both ports reply to every method at every address, with and without a key."""
    found = []
    for port in (pod.port, pod.chat_port):
        for key in (KEY, None, "wrong-key"):
            headers = {"Accept": "text/html, */*"}
            headers |= {"Authorization": f"Bearer {key}"} if key else {}
            base = f"http://127.0.0.1:{port}"
            with httpx.Client(base_url=base, headers=headers, timeout=60) as client:
                found += [told(client, *call) for call in calls()]
    return found


def paths() -> list[str]:
    """Every address, with a job that is there and one that is not."""
    known = sorted({row.path for row in ROWS})
    filled = {
        path.format(job_id=job, index=0, letter_id="none", callback_id=0, model="none")
        for path in known
        for job in (JOB, "none")
    }
    return [*sorted(filled), *OTHER_PATHS]


def calls() -> Iterator[tuple[str, str, bytes]]:
    """Method, path and body of each call."""
    for path in paths():
        bodies = BODIES[1:] if path in ACTING else BODIES
        for method in METHODS:
            if method == "DELETE" and path == f"/v1/jobs/{JOB}":
                continue
            for body in bodies if method in WRITING else (b"",):
                yield method, path, body


def told(client: httpx.Client, method: str, path: str, body: bytes) -> Reply:
    """One reply, whole."""
    headers = {"Content-Type": "application/json"} if body else {}
    reply = client.request(method, path, content=body, headers=headers)
    head = "\n".join(f"{name}: {value}" for name, value in reply.headers.items())
    media_type = reply.headers.get("content-type", "")
    return Reply(f"{method} {path} {body!r}", reply.status_code, media_type, head, reply.text)


def test_33_no_reply_holds_a_key_or_the_environment(pod: Pod, replies: list[Reply]) -> None:
    """H-4: not one configured key, not another variable's value, not a path of the machine."""
    assert len(replies) > 1000
    assert {200, 401, 404, 405, 400} <= {reply.status for reply in replies}
    own = [file.read_text().strip() for file in pod.state.glob("*.key")]
    hidden = (CANARY, str(pod.state), str(pod.state.parent), "Traceback", *SECRETS, *own)
    leaks = [
        (reply.call, word)
        for reply in replies
        for word in hidden
        if word in reply.head or word in reply.body
    ]
    assert leaks == []


def test_33_good_replies_hold_none_either(pod: Pod) -> None:
    """H-4 for calls that work: texts, jobs, receipts and metrics."""
    with httpx.Client(base_url=f"http://127.0.0.1:{pod.port}", timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        works = [client.post(path, json=TALK) for path in TEXT_PATHS]
        works += [client.post("/chat", json=TALK | {"stream": True})]
        works += [client.post("/v1/jobs", json=GOOD_JOB | {"id": "job-2"})]
    assert [reply.status_code for reply in works] == [200, 200, 200, 200, 200, 202]
    for reply in works:
        assert CANARY not in f"{reply.headers}{reply.text}"


@pytest.mark.parametrize("method", METHODS)
def test_33_debug_env_does_not_exist(replies: list[Reply], method: str) -> None:
    """H-3: 404 on both ports, with a key and without, whatever the method."""
    asked = [reply for reply in replies if reply.call.startswith(f"{method} /debug/env ")]
    assert len(asked) >= 6
    assert {reply.status for reply in asked} == {404}


def test_39_every_error_of_every_route_is_a_problem(replies: list[Reply]) -> None:
    """H-20 and H-22: JSON, never HTML, though HTML was asked for; no forbidden substring."""
    errors = [reply for reply in replies if reply.status >= 400 and "/health" not in reply.call]
    assert len(errors) > 800
    assert [reply for reply in errors if reply.media_type != MEDIA_TYPE] == []
    for reply in errors:
        check_body(reply.body)
    broken = {(reply.call.split()[1], reply.status) for reply in errors if reply.status >= 500}
    assert broken <= {(NO_DEVICE, 503)}, "no 500 for a client's mistake"


@pytest.mark.parametrize("field", FIELDS)
def test_39_a_wrong_field_is_told_without_a_forbidden_substring(pod: Pod, field: str) -> None:
    """H-22: `num_inference_steps` is told by its alias; what was written is never echoed."""
    kind = "video7b_fast_enhanced" if "sample" in field or "enhance" in field else GOOD_JOB["type"]
    kind = "video_fast" if field in {*video.FRAMES_NAMES, *video.MODE_NAMES} else kind
    place, _, name = field.rpartition(".")
    wrong = {"inf": "inappropriate content policy"}
    given = {place: {name: wrong}} if place else {name: wrong}
    with httpx.Client(base_url=f"http://127.0.0.1:{pod.port}") as client:
        client.headers["Authorization"] = f"Bearer {KEY}"
        reply = client.post("/v1/jobs", json=GOOD_JOB | {"id": "wrong", "type": kind} | given)
    assert (reply.status_code, reply.headers["content-type"]) == (400, MEDIA_TYPE)
    assert reply.json()["code"] == "INVALID_REQUEST"
    check_body(reply.text)


def test_39_what_is_no_http_at_all_gets_no_html(pod: Pod) -> None:
    """H-3 below the application: the server's own answer to garbage."""
    for garbage in (b"\x16\x03\x01 hello\r\n\r\n", b"INF NAN HTTP\r\n\r\n", b"GET\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", pod.port), timeout=10) as line:
            line.sendall(garbage)
            line.shutdown(socket.SHUT_WR)
            answer = b"".join(iter(lambda: line.recv(4096), b"")).decode("latin-1").lower()
        assert answer.startswith("http/1.1 400 ")
        assert "html" not in answer
        assert is_speakable(answer)


def tree() -> Iterator[type[OurvidzError]]:
    """Every class of the tree, from the root down."""
    waiting: list[type[OurvidzError]] = [OurvidzError]
    while waiting:
        kind = waiting.pop()
        yield kind
        below = kind.__subclasses__()
        waiting += [child for child in below if child.__module__ == OurvidzError.__module__]


def made(kind: type[OurvidzError], sentence: str | None = None) -> OurvidzError:
    """An error of a class."""
    if issubclass(kind, BadReference):
        return kind(sentence, reason="REFERENCE_EXPIRED")
    return kind(sentence)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", list(tree()), ids=lambda kind: kind.__name__)
async def test_39_every_class_of_error_is_told_over_http(kind: type[OurvidzError]) -> None:
    """H-22: with its own sentence, and with one that holds what is forbidden."""
    pod = FakePod()
    async with client_of(pod.app()) as client:
        for sentence in (None, *(f"Told of {word.upper()} by accident." for word in FORBIDDEN)):
            pod.texts.error = made(kind, sentence)
            for path in TEXT_PATHS:
                reply = await client.post(path, json=TALK, headers={"Accept": "text/html"})
                assert reply.status_code >= 400
                assert reply.headers["content-type"] == MEDIA_TYPE
                assert reply.json()["code"] == kind.code
                check_body(reply.text)
    assert is_speakable(bytes(problem_response(made(kind), "0" * 36).body).decode())


def test_39_no_sentence_in_the_sources_is_forbidden() -> None:
    """H-22: every template, the contract's own names told by their alias."""
    found = list(sentences())
    assert len(found) > 50
    for name, alias in SPEAKABLE_NAMES.items():
        found = [(where, sentence.replace(name, alias)) for where, sentence in found]
    assert [where for where, sentence in found if not is_speakable(sentence)] == []


def check_body(body: str) -> None:
    """Assert that an error body may be shown to any client."""
    folded = body.lower()
    assert [word for word in FORBIDDEN if word in folded] == []
    assert "<html" not in folded
    assert "<!doctype" not in folded
