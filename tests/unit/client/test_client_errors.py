"""The client's errors: drawn as they are, and read from whatever the pod answers."""

import re

import msgspec
import pytest

from ourvidz_worker.client import errors
from ourvidz_worker.client.errors import (
    ClientError,
    Contradicted,
    JobCancelled,
    JobFailed,
    KeyRejected,
    NotKnown,
    NotNow,
    PodFailed,
    Rejected,
    UnexpectedAnswer,
    error_of,
)
from ourvidz_worker.client.results import JobFault, JobView
from ourvidz_worker.domain.errors import OutOfMemory, RequestError

VIEW = JobView(job_id="j", type="video_fast", status="failed")


def classes() -> list[type[ClientError]]:
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, ClientError)]


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = dict(re.findall(r"(?m)^[ │├└─]*([A-Z]\w+)(\*?) {2,}", errors.__doc__ or ""))
    assert drawn == {kind.__name__: "*" if kind.may_pass_later else "" for kind in classes()}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, Rejected),
        (401, KeyRejected),
        (404, NotKnown),
        (409, Contradicted),
        (422, Rejected),
        (429, NotNow),
        (500, PodFailed),
        (503, NotNow),
        (504, PodFailed),
        (304, UnexpectedAnswer),
    ],
)
def test_each_status_has_its_class(status: int, kind: type[ClientError]) -> None:
    assert type(error_of(status, b"<html>")) is kind
    assert "<html>" not in error_of(status, b"<html>").sentence


def test_what_the_pod_says_is_kept() -> None:
    body = {
        "code": RequestError.code,
        "error": "Wrong.",
        "retryable": False,
        "field": "config.steps",
        "request_id": "r",
        "status": 400,
    }
    error = error_of(400, msgspec.json.encode(body))
    told = (error.code, error.sentence, error.retryable, error.field, error.request_id)
    assert told == ("INVALID_REQUEST", "Wrong.", False, "config.steps", "r")


def test_a_pod_that_says_nothing_leaves_the_class_to_speak() -> None:
    error = error_of(503, b"")
    assert (error.retryable, error.request_id) == (True, None)
    assert "503" in str(error)


def test_a_failed_job_keeps_its_fault_and_its_view() -> None:
    fault = JobFault(code=OutOfMemory.code, message="Too large.", retryable=True)
    error = JobFailed(msgspec.structs.replace(VIEW, error=fault))
    assert (error.code, error.sentence, error.retryable) == ("OOM_ERROR", "Too large.", True)
    assert JobFailed(VIEW).sentence == "The job failed."
    assert JobCancelled(VIEW).view is VIEW
