"""Where callbacks go, with which keys, and who is told what (7.1)."""

import asyncio
import hashlib
import hmac
import json
from base64 import b64encode
from pathlib import Path

import msgspec
import pytest

from ourvidz_worker.clock import SystemClock
from ourvidz_worker.config import Config
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.job import Job
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.queue import QueueSettings, make_queue
from ourvidz_worker.wiring.telling import Silence, make_telling, signer_of, target_of

pytestmark = pytest.mark.anyio

SERVICE_KEY = "service-key-of-the-application"
SUPABASE = {"supabase_url": "https://x.supabase.co", "supabase_service_role_key": SERVICE_KEY}
WEBHOOK = b"w" * 24
WEBHOOK_SECRET = "whsec_" + b64encode(WEBHOOK).decode()


def config_of(**settings: str) -> Config:
    return msgspec.structs.replace(Config(), **settings)


@pytest.mark.parametrize(
    ("settings", "target"),
    [
        ({}, ""),
        (SUPABASE, "https://x.supabase.co/functions/v1/job-callback"),
        ({**SUPABASE, "supabase_url": "https://x.supabase.co/"}, None),
        ({**SUPABASE, "callback_url": "https://other/hook"}, "https://other/hook"),
        ({"callback_url": "http://127.0.0.1:9/hook"}, "http://127.0.0.1:9/hook"),
    ],
)
def test_callbacks_go_to_the_application_or_where_the_operator_says(
    settings: dict[str, str], target: str | None
) -> None:
    """7.1, two profiles: `CALLBACK_URL` goes first."""
    expected = "https://x.supabase.co/functions/v1/job-callback" if target is None else target
    assert target_of(config_of(**settings)) == expected


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("", True),
        ("https://x.supabase.co/functions/v1/other", True),
        ("https://x.supabase.co:443/hook", True),
        ("http://x.supabase.co/hook", False),
        ("https://x.supabase.co:8443/hook", False),
        ("https://x.supabase.co.evil.example/hook", False),
        ("https://x.supabase.co@evil.example/hook", False),
        ("https://evil.example/hook?x.supabase.co", False),
    ],
)
def test_the_service_key_goes_to_the_applications_own_host_alone(url: str, sent: bool) -> None:
    """7.1, R-3: bearer and `apikey`, or neither."""
    signer = signer_of(config_of(**SUPABASE, callback_url=url))
    headers = signer.headers(b"{}", job_id="j1", status="completed", at=0.0)
    assert (headers.get("Authorization") == f"Bearer {SERVICE_KEY}") is sent
    assert (headers.get("apikey") == SERVICE_KEY) is sent
    assert (SERVICE_KEY in str(headers)) is sent


def test_without_an_application_no_service_key_is_sent() -> None:
    signer = signer_of(Config(callback_url="https://own.example/hook"))
    assert "apikey" not in signer.headers(b"{}", job_id="j1", status="failed", at=0.0)


def test_all_signatures_are_over_the_exact_bytes() -> None:
    """7.1: HMAC of the secret, and Standard Webhooks beside it for each of its secrets."""
    second = "whsec_" + b64encode(b"v" * 32).decode()
    config = config_of(
        **SUPABASE, job_callback_secret="s3cret", webhook_secrets=f"{WEBHOOK_SECRET}, {second}"
    )
    body = '{"é":1}'.encode()
    headers = signer_of(config).headers(body, job_id="j1", status="failed", at=12.0)
    digest = hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["X-Callback-Signature"] == f"sha256={digest}"
    signed = f"{headers['webhook-id']}.12.".encode() + body
    own = b64encode(hmac.new(WEBHOOK, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"].split()[0] == f"v1,{own}"
    assert len(headers["webhook-signature"].split()) == 2


@pytest.mark.parametrize("secret", ["whsec_short", "whsec_%%%", WEBHOOK_SECRET + ",x"])
def test_a_wrong_webhook_secret_stops_the_start_unshown(secret: str) -> None:
    with pytest.raises(ConfigError, match="OURVIDZ_WEBHOOK_SECRETS") as caught:
        signer_of(Config(webhook_secrets=secret))
    assert secret not in caught.value.sentence


async def serve(heard: list[tuple[bytes, bytes]], reply: bytes) -> asyncio.Server:
    """A receiver that keeps what comes and always answers the same."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lines = [line.lower() for line in head.split(b"\r\n")]
        (length,) = [line for line in lines if line.startswith(b"content-length:")]
        heard.append((head, await reader.readexactly(int(length.split(b":")[1]))))
        size = str(len(reply)).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: " + size + b"\r\n\r\n" + reply)
        writer.close()

    return await asyncio.start_server(take, "127.0.0.1", 0)


async def test_a_skipped_processing_is_passed_on_and_paths_may_carry_the_bucket(
    tmp_path: Path,
) -> None:
    """K-11: over real HTTP, from the queue's own outbox."""
    heard: list[tuple[bytes, bytes]] = []
    skipped: list[str] = []
    server = await serve(heard, b'{"success":true,"skipped":true}')
    port = server.sockets[0].getsockname()[1]
    clock = SystemClock()
    queue = make_queue("sqlite", QueueSettings(state_dir=tmp_path), clock)
    await queue.open()
    telling = make_telling(
        Config(callback_url=f"http://127.0.0.1:{port}/hook", callback_url_bucket_prefix=True),
        queue,
        clock,
        worker_id="w1",
        limits=Limits(),
        jitter=lambda: 0.0,
        skipped=skipped.append,
    )
    row = JOB_TYPES["chat_enhance"]
    payload = b'{"id":"j1","user_id":"u1","type":"chat_enhance","prompt":"p"}'
    job = Job(
        id="j1",
        type=row.name,
        user_id="u1",
        lane=row.lane,
        priority=row.priority,
        payload=payload,
        submitted_at=0.0,
    )
    await queue.submit(job)
    (lease,) = await queue.lease("w1", {row.lane: 1}, 60.0)
    await queue.start(lease.token, callback=telling.processing(lease))
    telling.progress(lease, 0.5)
    running = asyncio.create_task(telling.run())
    telling.kick()
    await telling.flush()
    await running
    assert [json.loads(body)["status"] for _, body in heard] == ["processing"]
    assert skipped == ["j1"]
    assert telling.refused() is False
    await telling.close()
    await queue.close()
    server.close()


def test_without_an_address_there_is_silence(tmp_path: Path) -> None:
    """Two profiles: embedded, callbacks only where an address is set."""
    clock = SystemClock()
    queue = make_queue("sqlite", QueueSettings(state_dir=tmp_path), clock)
    telling = make_telling(
        Config(), queue, clock, worker_id="w", limits=Limits(), jitter=lambda: 0.0
    )
    assert isinstance(telling, Silence)
