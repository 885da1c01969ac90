"""Contract 2.2: which calls need a key in which mode, and how much goes without one."""

import asyncio

import httpx
import pytest

from ourvidz_worker.api.app import ROWS
from ourvidz_worker.api.auth import Access, AuthMode
from ourvidz_worker.api.call import ApiSettings
from ourvidz_worker.testing.desks import KEYS, VERSION, FakePod, client_of

pytestmark = pytest.mark.anyio

CHAT = {"messages": [{"role": "user", "content": "hello"}]}
BODIES: dict[str, object] = {
    "/chat": CHAT,
    "/enhance": CHAT,
    "/generate": {"inputs": "once"},
    "/v1/chat/completions": CHAT,
    "/v1/completions": {"prompt": "once"},
}
PUBLIC = ("/", "/worker/info", "/info", "/status", "/api/status", "/memory/status")
NATIVE = [row for row in ROWS if row.access is Access.KEY]


async def status_of(
    pod: FakePod, mode: AuthMode, method: str, path: str, header: str | None, body: object = None
) -> int:
    """The status of one call with that Authorization header."""
    async with client_of(pod.app(mode=mode), key=None) as client:
        headers = {} if header is None else {"Authorization": header}
        reply = await client.request(method, path, headers=headers, json=body)
    if reply.status_code == 401:
        assert reply.headers["www-authenticate"] == "Bearer"
        assert reply.json()["code"] == "UNAUTHORIZED"
    return reply.status_code


@pytest.mark.parametrize(
    ("mode", "header", "health", "public", "inference"),
    [
        ("compat", None, 200, 200, 200),
        ("compat", "Bearer wrong", 401, 401, 401),
        ("compat", f"bearer {KEYS[1]}", 200, 200, 200),
        ("required", None, 200, 401, 401),
        ("required", "Bearer wrong", 200, 401, 401),
        ("required", f"Bearer {KEYS[0]}", 200, 200, 200),
        ("open", None, 200, 200, 200),
        ("open", "Bearer wrong", 401, 401, 200),
        ("open", f"Bearer {KEYS[0]}", 200, 200, 200),
    ],
)
async def test_the_three_modes(
    mode: AuthMode, header: str | None, health: int, public: int, inference: int
) -> None:
    """A-1, A-2, A-3: what each mode takes with a missing, a wrong and a valid key."""
    pod = FakePod()
    assert await status_of(pod, mode, "GET", "/health", header) == health
    for path in PUBLIC:
        assert await status_of(pod, mode, "GET", path, header) == public
    for path, body in BODIES.items():
        assert await status_of(pod, mode, "POST", path, header, body) == inference
    assert await status_of(pod, mode, "GET", "/v1/models", header) == inference


@pytest.mark.parametrize("mode", ["compat", "required", "open"])
@pytest.mark.parametrize("row", NATIVE, ids=lambda row: f"{row.method} {row.path}")
async def test_native_calls_always_need_a_key(mode: AuthMode, row: object) -> None:
    """A-4, and A-5: 401 carries `WWW-Authenticate`."""
    found = next(native for native in NATIVE if native is row)
    pod = FakePod()
    for header in (None, "Bearer wrong", "Basic first-key"):
        assert await status_of(pod, mode, found.method, found.path, header) == 401
    assert pod.jobs.records == {}


@pytest.mark.parametrize("mode", ["compat", "required", "open"])
async def test_the_prompt_form_always_needs_a_key(mode: AuthMode) -> None:
    """A-4."""
    pod = FakePod()
    body = {"prompt": "a cat"}
    assert await status_of(pod, mode, "POST", "/enhance", None, body) == 401
    assert await status_of(pod, mode, "POST", "/enhance", "Bearer wrong", body) == 401
    assert pod.texts.requests == []
    assert await status_of(pod, mode, "POST", "/enhance", f"Bearer {KEYS[0]}", body) == 200


def test_the_calls_that_always_need_a_key_are_those_of_the_contract() -> None:
    """A-4: everything that moves memory or looks inside, in every mode."""
    keyed = {(row.method, row.path) for row in NATIVE}
    assert keyed >= {
        ("POST", "/memory/load"),
        ("POST", "/memory/unload"),
        ("GET", "/memory/report"),
        ("POST", "/emergency/operation"),
        ("GET", "/debug/model"),
    }


async def test_a_caller_from_this_machine_needs_a_key_too() -> None:
    """A-4: there is no loopback exemption."""
    async with client_of(FakePod().app(mode="open"), key=None, address="127.0.0.1") as client:
        assert (await client.get("/memory/report")).status_code == 401


async def test_callers_without_a_key_are_limited_by_address() -> None:
    """A-6: 429 with Retry-After, per source address, inference paths alone."""
    pod = FakePod()
    app = pod.app(settings=ApiSettings(version=VERSION, requests_per_minute=2))
    async with client_of(app, key=None) as client, client_of(app) as keyed:
        assert [await chat(client) for _ in range(3)] == [200, 200, 429]
        refused = await client.post("/generate", json={"inputs": "x"})
        assert refused.headers["retry-after"] == "30"
        assert refused.json()["code"] == "RATE_LIMITED"
        assert (await client.get("/health")).status_code == 200
        assert [await chat(keyed) for _ in range(3)] == [200] * 3
        pod.clock.jump(30)
        assert [await chat(client) for _ in range(2)] == [200, 429]
    async with client_of(app, key=None, address="192.0.2.9") as other:
        assert await chat(other) == 200


async def test_a_key_s_holder_may_talk_as_often_at_once_as_they_like() -> None:
    """A-6 is for callers without a key: 64 users behind one key are no reason to refuse."""
    pod = FakePod()
    pod.texts.hold = asyncio.Event()
    app = pod.app()
    async with client_of(app, key=None) as stranger, client_of(app) as keyed:
        talks = [asyncio.ensure_future(chat(keyed)) for _ in range(64)]
        others = [asyncio.ensure_future(chat(stranger)) for _ in range(9)]
        while pod.texts.running < 64 + 8:
            await pod.clock.advance(0)
        pod.texts.hold.set()
        assert await asyncio.gather(*talks) == [200] * 64
        assert sorted(await asyncio.gather(*others)) == [200] * 8 + [429]


async def test_several_texts_of_one_call_count_one_by_one() -> None:
    """A-6: one call is not a way around the limit."""
    pod = FakePod()
    app = pod.app(settings=ApiSettings(version=VERSION, requests_per_minute=6))
    path, body = "/v1/completions", {"prompt": ["a", "b"], "n": 2}
    async with client_of(app, key=None) as client, client_of(app) as keyed:
        assert (await client.post(path, json=body)).status_code == 200
        for streamed in (False, True):
            refused = await client.post(path, json=body | {"stream": streamed})
            assert refused.status_code == 429
            assert refused.json()["error"]["code"] == "RATE_LIMITED"
            pod.clock.jump(10)
        assert (await keyed.post(path, json=body)).status_code == 200
    assert pod.texts.running == 0
    app = pod.app(settings=ApiSettings(version=VERSION, concurrent_requests=3))
    async with client_of(app, key=None) as client:
        assert (await client.post(path, json=body)).status_code == 429
        assert (await client.post(path, json=body | {"n": 1})).status_code == 200


async def test_a_private_network_s_callers_are_limited_too_unless_they_show_a_key() -> None:
    app = FakePod().app(
        settings=ApiSettings(version=VERSION, auth_mode="open", requests_per_minute=1)
    )
    async with client_of(app, key="wrong") as client, client_of(app) as keyed:
        assert [await chat(client) for _ in range(2)] == [200, 429]
        assert [await chat(keyed) for _ in range(2)] == [200, 200]


async def chat(client: httpx.AsyncClient) -> int:
    """The status of one chat call."""
    return (await client.post("/chat", json=CHAT)).status_code
