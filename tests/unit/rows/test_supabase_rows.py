"""The application's rows: a doubt never stops a job, and one write is all there is."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.rows import ROWS, RowsSettings, RowState, make_rows
from ourvidz_worker.rows.supabase import (
    NOT_READ,
    NOT_REPAIRED,
    PATIENCE_S,
    REPAIRED,
    SupabaseRows,
)
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.supabase import (
    Application,
    Fault,
    SupabaseEmulator,
    digest,
    payloads,
)
from ourvidz_worker.testing.supabase.payloads import Seed

pytestmark = pytest.mark.anyio

JOB = "job-1"


@pytest.fixture
def application(supabase: SupabaseEmulator) -> Iterator[Application]:
    application = Application.of(supabase, lambda _queue, _element: None)
    yield application
    application.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def rows(supabase: SupabaseEmulator, clock: FakeClock) -> AsyncIterator[SupabaseRows]:
    rows = rows_of(supabase, clock)
    yield rows
    await rows.close()


def rows_of(
    supabase: SupabaseEmulator, clock: FakeClock, *, key: str | None = None, repairs: bool = True
) -> SupabaseRows:
    secret = supabase.state.keys.service if key is None else key
    return SupabaseRows(RowsSettings(url=supabase.url, key=secret, repairs=repairs), clock)


def add_job(application: Application, *, prompt: str = "a lake", job_id: str = JOB) -> None:
    seed = Seed(job_id=job_id, user_id="user-1", prompt=prompt)
    application.submit(payloads.text_to_image(seed))


async def test_the_state_of_a_row(
    supabase: SupabaseEmulator, application: Application, rows: SupabaseRows
) -> None:
    """K-20: the look-up of the contract, and a cancel that the user makes in the table."""
    add_job(application)
    assert await rows.state(JOB) is RowState.QUEUED
    application.cancel(JOB)
    assert await rows.state(JOB) is RowState.CANCELLED
    call = supabase.state.calls_of("rest.get")[-1]
    service = supabase.state.keys.service
    assert call.path == f"/rest/v1/jobs?select=status&id=eq.{JOB}"
    assert call.headers["authorization"] == digest(f"Bearer {service}")
    assert call.headers["apikey"] == digest(service)


async def test_a_row_that_is_not_there_counts_once_the_key_has_proved_itself(
    supabase: SupabaseEmulator, rows: SupabaseRows
) -> None:
    """K-20."""
    assert await rows.state("none") is RowState.MISSING
    paths = [call.path for call in supabase.state.calls_of("rest.get")]
    assert paths == [
        "/rest/v1/jobs?select=status&id=eq.none",
        "/rest/v1/system_config?select=id&id=eq.1",
    ]


@pytest.mark.parametrize("key", ["anon-key-of-the-emulator", "a key of nobody"])
async def test_a_key_without_rights_cancels_nothing(
    supabase: SupabaseEmulator, application: Application, clock: FakeClock, key: str
) -> None:
    """K-20: it reads empty lists, or is refused."""
    add_job(application)
    rows = rows_of(supabase, clock, key=key)
    assert await rows.state(JOB) is RowState.UNKNOWN
    await rows.close()


@pytest.mark.parametrize(
    "fault",
    [
        Fault(call="rest.get", status=500),
        Fault(call="rest.get", status=401),
        Fault(call="rest.get", status=404),
        Fault(call="rest.get", status=429),
        Fault(call="rest.get", how="cut"),
        Fault(call="rest.get", status=200, body="not JSON"),
        Fault(call="rest.get", status=200, body='{"status":"cancelled"}'),
        Fault(call="rest.get", status=200, body='[{"status":"dreaming"}]'),
        Fault(call="rest.get", status=200, body="[[]]", path="jobs"),
        Fault(call="rest.get", status=503, path="system_config"),
    ],
    ids=lambda fault: f"{fault.how}-{fault.status}-{fault.body[:12]}-{fault.path}",
)
async def test_a_failed_look_up_is_a_doubt(
    supabase: SupabaseEmulator, rows: SupabaseRows, fault: Fault
) -> None:
    """K-20: a failed look-up never stops a job."""
    supabase.state.faults.add(fault)
    if fault.body == "[[]]":
        supabase.state.faults.add(Fault(call="rest.get", status=500, path="system_config"))
    assert await rows.state(JOB) is RowState.UNKNOWN


async def test_a_silent_database_is_a_doubt(
    supabase: SupabaseEmulator, rows: SupabaseRows, clock: FakeClock
) -> None:
    """K-20."""
    supabase.state.faults.add(Fault(call="rest.get", how="hang"))
    asking = asyncio.create_task(rows.state(JOB))
    await asyncio.to_thread(supabase.state.wait_for, "rest.get")
    await clock.advance(PATIENCE_S)
    assert await asking is RowState.UNKNOWN


async def test_an_empty_prompt_is_repaired_once(
    supabase: SupabaseEmulator, application: Application, rows: SupabaseRows
) -> None:
    """K-13: the exact write, noted as a warning; a second look finds nothing to do."""
    add_job(application, prompt="")
    add_job(application, prompt="", job_id="another")
    assert await rows.repair_prompt(JOB) == REPAIRED
    assert application.row(JOB)["original_prompt"] == "exact copy"
    assert application.row("another")["original_prompt"] is None
    (call,) = supabase.state.calls_of("rest.patch")
    assert call.path == f"/rest/v1/jobs?id=eq.{JOB}"
    assert call.body == b'{"original_prompt":"exact copy"}'
    assert await rows.repair_prompt(JOB) is None
    assert len(supabase.state.calls_of("rest.patch")) == 1


async def test_a_prompt_that_is_there_stays(
    supabase: SupabaseEmulator, application: Application, rows: SupabaseRows
) -> None:
    """K-13."""
    add_job(application, prompt="a lake")
    assert await rows.repair_prompt(JOB) is None
    assert await rows.repair_prompt("none") is None
    assert supabase.state.calls_of("rest.patch") == []


@pytest.mark.parametrize(
    ("fault", "warning"),
    [
        (Fault(call="rest.patch", status=500), NOT_REPAIRED),
        (Fault(call="rest.patch", status=403), NOT_REPAIRED),
        (Fault(call="rest.patch", how="cut"), NOT_REPAIRED),
        (Fault(call="rest.get", status=503), NOT_READ),
    ],
)
async def test_a_failed_repair_is_a_warning(
    supabase: SupabaseEmulator,
    application: Application,
    rows: SupabaseRows,
    fault: Fault,
    warning: str,
) -> None:
    """K-13: failure is a warning, never an error."""
    add_job(application, prompt="")
    supabase.state.faults.add(fault)
    assert await rows.repair_prompt(JOB) == warning
    assert application.row(JOB)["original_prompt"] is None


async def test_repairs_can_be_off(
    supabase: SupabaseEmulator, application: Application, clock: FakeClock
) -> None:
    """K-13: REPAIR_EMPTY_ORIGINAL_PROMPT."""
    add_job(application, prompt="")
    rows = rows_of(supabase, clock, repairs=False)
    assert await rows.repair_prompt(JOB) is None
    assert supabase.state.calls_of("rest.patch") == []
    await rows.close()


async def test_rows_are_chosen_by_name(supabase: SupabaseEmulator, clock: FakeClock) -> None:
    settings = RowsSettings(url=supabase.url, key="key")
    for name in ROWS:
        rows = make_rows(name, settings, clock)
        assert await rows.state("none") is RowState.UNKNOWN
        await rows.close()
    with pytest.raises(ConfigError):
        make_rows("nothing", settings, clock)
