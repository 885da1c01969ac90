"""Views of jobs: public states, hrefs, faults and lists."""

import msgspec
import pytest
from msgspec.structs import replace

from ourvidz_worker.api.views import FOUND_IN, job_list, job_view, public_status
from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.job import TERMINAL, Job, Status
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.queue import JobRecord


def a_record(name: str = "j", *, at: float = 1_700_000_000.0) -> JobRecord:
    """A waiting job."""
    job = Job(
        id=name,
        type="video_fast",
        user_id="u",
        lane=Lane.VIDEO,
        priority=PriorityClass.NORMAL,
        payload=b"{}",
        submitted_at=at,
    )
    return JobRecord(job=job, status=Status.WAITING)


def members(value: msgspec.Struct) -> dict[str, object]:
    """A view as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value), type=dict[str, object])


def test_a_waiting_job() -> None:
    assert members(job_view(a_record())) == {
        "job_id": "j",
        "type": "video_fast",
        "lane": "video",
        "user_id": "u",
        "status": "queued",
        "created_at": "2023-11-14T22:13:20.000Z",
        "started_at": None,
        "completed_at": None,
        "attempts": 0,
        "assets": [],
        "metadata": {},
        "error": None,
    }


def test_work_that_has_not_begun_counts_as_queued() -> None:
    leased = replace(a_record(), status=Status.LEASED, tries=1)
    assert public_status(leased) == "queued"
    assert public_status(replace(leased, started_at=1.0)) == "processing"


def test_every_state_can_be_asked_for() -> None:
    found = {status for states in FOUND_IN.values() for status in states}
    assert found == set(Status)
    for name, states in FOUND_IN.items():
        assert [status.value for status in states if status in TERMINAL] in ([], [name])


def test_a_completed_job_shows_its_files() -> None:
    asset = Asset(
        index=0,
        media=Media.VIDEO,
        key="u/j/0.mp4",
        thumbnail_key="u/j/0.thumb.webp",
        media_type="video/mp4",
        metadata={"width": 832},
    )
    record = replace(
        a_record(), status=Status.COMPLETED, settled_at=1_700_000_060.5, assets=(asset,)
    )
    view = job_view(record)
    assert view.completed_at == "2023-11-14T22:14:20.500Z"
    assert members(view.assets[0]) == {
        "index": 0,
        "type": "video",
        "url": "u/j/0.mp4",
        "thumbnail_url": "u/j/0.thumb.webp",
        "href": "/v1/jobs/j/assets/0",
        "thumbnail_href": "/v1/jobs/j/assets/0/thumbnail",
        "metadata": {"width": 832},
    }
    bare = job_view(replace(record, assets=(replace(asset, thumbnail_key=None),))).assets[0]
    assert (bare.thumbnail_url, bare.thumbnail_href) == (None, None)


def test_a_text_has_no_address() -> None:
    text = Asset(index=0, media=Media.TEXT, text="Hello", metadata={"tokens_generated": 1})
    view = job_view(replace(a_record(), status=Status.COMPLETED, assets=(text,)))
    assert members(view.assets[0]) == {
        "index": 0,
        "type": "text",
        "text": "Hello",
        "metadata": {"tokens_generated": 1},
    }


@pytest.mark.parametrize(
    ("code", "facts", "retryable"),
    [
        ("OOM_ERROR", {}, True),
        ("INVALID_REQUEST", {}, False),
        ("REFERENCE_FRAME_ERROR", {"error_reason": "REFERENCE_TIMEOUT"}, True),
        ("REFERENCE_FRAME_ERROR", {"error_reason": "REFERENCE_NOT_FOUND"}, False),
        ("OOM_ERROR", {"retryable": False}, False),
        ("NEVER_HEARD_OF", {}, True),
    ],
)
def test_a_failed_job_says_why(
    code: str, facts: dict[str, str | int | float | bool | None], retryable: bool
) -> None:
    record = replace(a_record(), status=Status.FAILED, code=code, sentence="It broke.", facts=facts)
    view = job_view(record)
    assert view.error is not None
    assert (view.error.code, view.error.message) == (code, "It broke.")
    assert view.error.retryable is retryable


def test_a_failure_without_a_sentence_has_that_of_its_class() -> None:
    error = job_view(replace(a_record(), status=Status.FAILED, code="OOM_ERROR")).error
    assert error is not None
    assert "memory" in error.message


def test_a_list_is_newest_first_each_once_and_of_the_state_asked_for() -> None:
    old, new = a_record("old", at=1), a_record("new", at=2)
    running = replace(a_record("run", at=3), status=Status.LEASED, started_at=3.5)
    ids = [view.job_id for view in job_list([old, running, new, old], "queued", 5).jobs]
    assert ids == ["new", "old"]
    everything = job_list([old, running, new], None, 2).jobs
    assert [view.job_id for view in everything] == ["run", "new"]
