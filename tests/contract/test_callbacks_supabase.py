"""Our callbacks meet the application's function: what it accepts, refuses and skips (7.1, 7.4)."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import get_args

import msgspec
import pytest

from ourvidz_worker.callbacks import Signer
from ourvidz_worker.callbacks.body import failed_body, processing_body
from ourvidz_worker.callbacks.sender import CallbackSender
from ourvidz_worker.callbacks.verdict import Delivered, Parked, Retry
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.postgres import PostgresServer
from ourvidz_worker.testing.supabase import Application, Fault, Keys, SupabaseEmulator, digest
from ourvidz_worker.testing.supabase.payloads import Seed, text_to_image
from ourvidz_worker.testing.supabase.state import Revision

pytestmark = pytest.mark.anyio

JOB = "job-1"


class Owed(msgspec.Struct, frozen=True, kw_only=True):
    """One callback owed."""

    body: bytes
    status: str
    job_id: str = JOB
    id: int = 1
    tries: int = 0
    created_at: float = 0.0


PROCESSING = Owed(status="processing", body=processing_body(JOB, worker_id="w"))
FAILED = Owed(
    status="failed",
    body=failed_body(JOB, worker_id="w", at=0.0, sentence="It failed.", facts={}),
)


@pytest.fixture(params=get_args(Revision))
def revision(request: pytest.FixtureRequest) -> Revision:
    chosen: Revision = request.param
    return chosen


@pytest.fixture
def supabase(postgres: PostgresServer, revision: Revision) -> Iterator[SupabaseEmulator]:
    with SupabaseEmulator(postgres.database(), keys=Keys(revision=revision)) as emulator:
        yield emulator


@pytest.fixture
def application(supabase: SupabaseEmulator) -> Iterator[Application]:
    application = Application.of(supabase, lambda _queue, _element: None)
    application.submit(text_to_image(Seed(job_id=JOB, user_id="user-1")))
    yield application
    application.close()


@asynccontextmanager
async def sending(
    supabase: SupabaseEmulator, *, secret: str | None = None, key: str | None = None
) -> AsyncIterator[CallbackSender]:
    keys = supabase.state.keys
    signer = Signer(
        callback_secret=keys.callback_secret if secret is None else secret,
        service_key=keys.service if key is None else key,
    )
    url = f"{supabase.url}/functions/v1/job-callback"
    sender = CallbackSender(url, signer, FakeClock())
    yield sender
    await sender.close()


async def test_both_revisions_take_a_signed_callback(
    supabase: SupabaseEmulator, application: Application
) -> None:
    """7.1: bearer, apikey, and the signature over the exact bytes that C2 demands."""
    async with sending(supabase) as sender:
        assert await sender.send(PROCESSING) == Delivered()
        assert application.row(JOB)["status"] == "processing"
        assert await sender.send(FAILED) == Delivered()
    row = application.row(JOB)
    assert (row["status"], row["error_message"]) == ("failed", "It failed.")
    first, second = supabase.state.calls_of("job-callback")
    assert first.headers["authorization"] == digest(f"Bearer {supabase.state.keys.service}")
    assert first.headers["idempotency-key"] == f"{JOB}:processing"
    assert second.body == FAILED.body


@pytest.mark.parametrize("secret", ["", "another secret"])
async def test_only_the_revision_of_2026_looks_at_the_signature(
    supabase: SupabaseEmulator, application: Application, revision: Revision, secret: str
) -> None:
    """7.1: 401 is a fault of the configuration, and parks the callback (K-11)."""
    async with sending(supabase, secret=secret) as sender:
        verdict = await sender.send(PROCESSING)
    accepted = Delivered() if revision == "C1" else Parked(error="status 401")
    assert verdict == accepted
    assert application.row(JOB)["status"] == ("processing" if revision == "C1" else "queued")


async def test_a_wrong_service_key_parks(
    supabase: SupabaseEmulator, application: Application
) -> None:
    """K-11."""
    async with sending(supabase, key="a key of nobody") as sender:
        assert await sender.send(PROCESSING) == Parked(error="status 401")
    assert application.row(JOB)["status"] == "queued"


async def test_a_cancelled_job_skips_the_callback(
    supabase: SupabaseEmulator, application: Application
) -> None:
    """K-11: `skipped` asks for a look at the row."""
    application.cancel(JOB)
    async with sending(supabase) as sender:
        assert await sender.send(PROCESSING) == Delivered(skipped=True)
    assert application.row(JOB)["status"] == "cancelled"


async def test_a_job_without_a_row(supabase: SupabaseEmulator, revision: Revision) -> None:
    """K-11, J-2: 404 in C1, skipped in C2."""
    async with sending(supabase) as sender:
        verdict = await sender.send(PROCESSING)
    missing = Retry(error="status 404", at_most=3)
    assert verdict == (missing if revision == "C1" else Delivered(skipped=True))


async def test_an_answer_that_never_came_is_asked_for_with_the_same_bytes(
    supabase: SupabaseEmulator, application: Application
) -> None:
    """K-11, K-12: the function had worked, and repeating is harmless."""
    fault = Fault(call="job-callback", how="cut", executed=True)
    supabase.state.faults.add(fault)
    async with sending(supabase) as sender:
        assert isinstance(await sender.send(FAILED), Retry)
        assert application.row(JOB)["status"] == "failed"
        assert await sender.send(FAILED) == Delivered()
    first, second = supabase.state.calls_of("job-callback")
    assert first.sha256 == second.sha256
