"""The emulator behaves as the contract says that the application does."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Iterator
from threading import Barrier
from typing import Any, Literal

import httpx
import psycopg
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.postgres import PostgresServer
from ourvidz_worker.testing.supabase import Fault, Keys, SupabaseEmulator, served

CONFIG = "/rest/v1/system_config?select=config&id=eq.1"
CALLBACK = "/functions/v1/job-callback"


class Caller:
    """What somebody with a key may ask."""

    def __init__(self, supabase: SupabaseEmulator, key: str | None = None) -> None:
        self.secret = supabase.state.keys.callback_secret
        secret = supabase.state.keys.service if key is None else key
        headers = {"Authorization": f"Bearer {secret}", "apikey": secret}
        self.http = httpx.Client(
            base_url=supabase.url, headers=headers, trust_env=False, timeout=10
        )

    def upload(self, name: str, media_type: str = "image/png") -> httpx.Response:
        return self.http.post(
            f"/storage/v1/object/{name}", content=b"bytes", headers={"Content-Type": media_type}
        )

    def tell(self, body: dict[str, Any], *, secret: str | None = None) -> httpx.Response:
        content = json.dumps(body).encode()
        mac = hmac.new((secret or self.secret).encode(), content, hashlib.sha256).hexdigest()
        headers = {"Content-Type": "application/json", "X-Callback-Signature": f"sha256={mac}"}
        return self.http.post(CALLBACK, content=content, headers=headers)

    def config(self) -> dict[str, Any]:
        (row,) = self.http.get(CONFIG).json()
        config: dict[str, Any] = row["config"]
        return config


@pytest.fixture
def caller(supabase: SupabaseEmulator) -> Iterator[Caller]:
    caller = Caller(supabase)
    yield caller
    caller.http.close()


def run(supabase: SupabaseEmulator, query: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(supabase.address, autocommit=True) as connection:
        cursor = connection.execute(query.encode(), values)
        return cursor.fetchall() if cursor.description else []


def add_job(supabase: SupabaseEmulator, *, prompt: str = "a lake", status: str = "queued") -> None:
    run(
        supabase,
        "INSERT INTO jobs (id, user_id, job_type, prompt, status) VALUES ('j','u','t',%s,%s)",
        prompt,
        status,
    )


def asset(index: int, seed: int) -> dict[str, Any]:
    facts = {"asset_index": index, "seed": seed, "file_size_bytes": 5, "width": 8, "height": 8}
    return {"type": "image", "url": f"u/j/{index}.png", "metadata": facts}


def completed(*assets: dict[str, Any]) -> dict[str, Any]:
    return {"job_id": "j", "status": "completed", "assets": list(assets), "metadata": {"x": None}}


def test_a_bucket_refuses_text_within_a_400_and_a_second_upload_without_upsert(
    caller: Caller,
) -> None:
    refused = caller.upload("workspace-temp/u/j/0.txt", "text/plain")
    assert (refused.status_code, refused.json()["statusCode"]) == (400, "415")
    assert caller.upload("workspace-temp/u/j/0.png").status_code == 200
    assert caller.upload("workspace-temp/u/j/0.png").json()["statusCode"] == "409"
    assert caller.upload("nowhere/u/j/0.png").json()["statusCode"] == "404"


def test_a_signed_url_expires(postgres: PostgresServer) -> None:
    clock = FakeClock()
    with SupabaseEmulator(postgres.database(), clock=clock) as supabase:
        caller = Caller(supabase)
        caller.upload("user-library/u/a.png")
        signing = caller.http.post(
            "/storage/v1/object/sign/user-library/u/a.png", json={"expiresIn": 3600}
        )
        url = f"{supabase.url}/storage/v1{signing.json()['signedURL']}"
        assert httpx.get(url, trust_env=False).content == b"bytes"
        assert httpx.get(url[:-1], trust_env=False).status_code == 400
        clock.jump(3600)
        assert httpx.get(url, trust_env=False).json()["error"] == "InvalidJWT"
        caller.http.close()


def test_a_key_without_rights_reads_empty_lists(supabase: SupabaseEmulator) -> None:
    """K-20: which is why an empty list proves nothing."""
    add_job(supabase)
    stranger = Caller(supabase, supabase.state.keys.anon)
    assert stranger.http.get("/rest/v1/jobs?select=status&id=eq.j").json() == []
    assert stranger.http.get(CONFIG).json() == []
    stranger.http.close()
    nobody = Caller(supabase, "some other key")
    assert nobody.http.get(CONFIG).status_code == 401
    nobody.http.close()


def test_rows_are_read_and_patched(supabase: SupabaseEmulator, caller: Caller) -> None:
    add_job(supabase)
    job = "/rest/v1/jobs?id=eq.j"
    assert caller.http.get(f"{job}&select=status").json() == [{"status": "queued"}]
    assert caller.http.patch(job, json={"original_prompt": "x"}).status_code == 204
    assert caller.http.get(f"{job}&select=original_prompt").json() == [{"original_prompt": "x"}]
    assert caller.http.patch(job, json={"status": "dreaming"}).status_code == 400
    assert caller.http.get(f"{job}&select=nothing").status_code == 400


def test_the_callback_of_2026_demands_a_signature(
    supabase: SupabaseEmulator, caller: Caller
) -> None:
    add_job(supabase)
    told = {"job_id": "j", "status": "processing"}
    assert caller.tell(told, secret="another secret").status_code == 401
    assert caller.tell(told).json() == {"success": True}
    assert run(supabase, "SELECT status FROM jobs") == [("processing",)]


@pytest.mark.parametrize(
    ("revision", "status", "said"),
    [("C1", 404, {"error": "Job not found"}), ("C2", 200, {"success": True, "skipped": True})],
)
def test_a_job_that_is_not_there(
    postgres: PostgresServer, revision: Literal["C1", "C2"], status: int, said: dict[str, Any]
) -> None:
    keys = Keys(revision=revision)
    with SupabaseEmulator(postgres.database(), keys=keys) as supabase:
        caller = Caller(supabase)
        reply = caller.tell({"job_id": "none", "status": "failed"})
        assert (reply.status_code, reply.json()) == (status, said)
        caller.http.close()


def test_a_cancelled_job_stays_cancelled(supabase: SupabaseEmulator, caller: Caller) -> None:
    add_job(supabase, status="cancelled")
    assert caller.tell(completed(asset(0, 7))).json() == {"success": True, "skipped": True}
    assert run(supabase, "SELECT status FROM jobs") == [("cancelled",)]
    assert run(supabase, "SELECT * FROM workspace_assets") == []


def test_completed_makes_assets_once_and_gives_seed_0_a_random_one(
    supabase: SupabaseEmulator, caller: Caller
) -> None:
    """K-12: repeating is harmless; completed after a false failed is taken."""
    add_job(supabase)
    for name in ("workspace-temp/u/j/0.png", "workspace-temp/u/j/1.png"):
        caller.upload(name)
    caller.tell({"job_id": "j", "status": "failed", "error_message": "no"})
    for _ in range(2):
        caller.tell(completed(asset(0, 0), asset(1, 7)))
    rows = run(supabase, "SELECT asset_index, generation_seed FROM workspace_assets ORDER BY 1")
    assert [index for index, _ in rows] == [0, 1]
    assert rows[0][1] > 0
    assert rows[1][1] == 7
    assert run(supabase, "SELECT status, metadata FROM jobs") == [("completed", {"x": None})]
    assert supabase.state.complaints == []


def test_two_pictures_of_one_seed_are_complained_about(
    supabase: SupabaseEmulator, caller: Caller
) -> None:
    """S-1: the client keeps one of them."""
    add_job(supabase)
    for name in ("workspace-temp/u/j/0.png", "workspace-temp/u/j/1.png"):
        caller.upload(name)
    caller.tell(completed(asset(0, 7), asset(1, 7)))
    assert run(supabase, "SELECT asset_index FROM workspace_assets") == [(0,)]
    assert supabase.state.complaints == ["j: asset 1 has the seed or place of another"]


def test_assets_without_prompt_or_file_are_complained_about(
    supabase: SupabaseEmulator, caller: Caller
) -> None:
    """K-13: without a prompt of any kind the asset is dropped."""
    add_job(supabase, prompt="")
    caller.tell(completed(asset(0, 7)))
    assert run(supabase, "SELECT * FROM workspace_assets") == []
    run(supabase, "UPDATE jobs SET original_prompt = 'exact copy'")
    caller.tell(completed(asset(0, 7)))
    assert run(supabase, "SELECT original_prompt FROM workspace_assets") == [("exact copy",)]
    assert supabase.state.complaints == ["j: asset 0 was dropped", "j: asset 0 has no file"]


def test_registration_needs_an_answer_and_chat_only_tells_of_it(
    supabase: SupabaseEmulator, caller: Caller
) -> None:
    """G-2: the first function refuses an unreachable worker, the second stores it."""
    supabase.state.pods |= {"wan": 503, "chat": 503}
    wan, chat = f"{supabase.url}/_pod/wan", f"{supabase.url}/_pod/chat"
    refused = caller.http.post("/functions/v1/update-worker-url", json={"worker_url": wan})
    assert refused.status_code == 400
    told = caller.http.post("/functions/v1/register-chat-worker", json={"worker_url": chat})
    assert told.json() == {"success": True, "healthStatus": "unhealthy"}
    assert caller.config()["chatWorkerUrl"] == chat
    assert "workerUrl" not in caller.config()


def test_a_look_at_the_workers_gives_the_cache_its_addresses(
    supabase: SupabaseEmulator, caller: Caller
) -> None:
    """G-4: registration leaves the cache entry without an address."""
    chat = f"{supabase.url}/_pod/chat"
    caller.http.post("/functions/v1/register-chat-worker", json={"worker_url": chat})
    assert "workerUrl" not in caller.config()["workerHealthCache"]["chatWorker"]
    caller.http.post("/functions/v1/health-check-workers", json={})
    entry = caller.config()["workerHealthCache"]["chatWorker"]
    assert (entry["isHealthy"], entry["workerUrl"]) == (True, chat)


@pytest.mark.anyio
async def test_registering_side_by_side_loses_one_of_the_two(supabase: SupabaseEmulator) -> None:
    """G-3: both functions have read before either writes."""
    both = Barrier(2)

    async def health(_: Request) -> JSONResponse:
        await asyncio.to_thread(both.wait, 10)
        return JSONResponse({"status": "healthy"})

    caller = Caller(supabase)
    with served(Starlette(routes=[Route("/health", health)])) as url:
        functions = ("update-worker-url", "register-chat-worker")
        replies = await asyncio.gather(
            *(
                asyncio.to_thread(
                    caller.http.post, f"/functions/v1/{name}", json={"worker_url": url}
                )
                for name in functions
            )
        )
    assert [reply.status_code for reply in replies] == [200, 200]
    config = await asyncio.to_thread(caller.config)
    assert ("workerUrl" in config) != ("chatWorkerUrl" in config)
    caller.http.close()


def test_faults_come_in_turn_and_the_record_shows_no_key(
    supabase: SupabaseEmulator, caller: Caller
) -> None:
    supabase.state.faults.add(Fault(call="rest.get", status=503))
    supabase.state.faults.add(Fault(call="rest.get", how="cut"))
    assert caller.http.get(CONFIG).status_code == 503
    with pytest.raises(httpx.RemoteProtocolError):
        caller.http.get(CONFIG)
    assert caller.http.get(CONFIG).status_code == 200
    assert [call.status for call in supabase.state.calls] == [503, None, 200]
    assert supabase.state.keys.service not in str(supabase.state.calls)


def test_a_lost_update_answers_well(supabase: SupabaseEmulator, caller: Caller) -> None:
    """G-3: what another writer overwrote."""
    chat = {"worker_url": f"{supabase.url}/_pod/chat"}
    supabase.state.faults.add(Fault(call="register-chat-worker", how="lose"))
    reply = caller.http.post("/functions/v1/register-chat-worker", json=chat)
    assert reply.json()["healthStatus"] == "healthy"
    assert caller.config() == {}


def test_a_fault_may_come_after_the_effect(supabase: SupabaseEmulator, caller: Caller) -> None:
    add_job(supabase)
    supabase.state.faults.add(Fault(call="job-callback", how="cut", executed=True))
    with pytest.raises(httpx.RemoteProtocolError):
        caller.tell({"job_id": "j", "status": "processing"})
    assert run(supabase, "SELECT status FROM jobs") == [("processing",)]


def test_it_is_steered_over_http_as_well(supabase: SupabaseEmulator, caller: Caller) -> None:
    fault = {"call": "rest.get", "status": 429, "times": None}
    caller.http.post("/_control/faults", json=fault)
    assert caller.http.get(CONFIG).status_code == 429
    caller.http.delete("/_control/faults")
    assert caller.http.get(CONFIG).status_code == 200
    caller.upload("workspace-temp/u/j/0.png")
    assert caller.http.get("/_control/objects").json() == ["workspace-temp/u/j/0.png"]
    assert len(caller.http.get("/_control/calls").json()) == 3
