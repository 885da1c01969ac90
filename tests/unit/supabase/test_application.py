"""The application pushes what the contract says that its revisions push."""

import json
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from ourvidz_worker.domain.intake import Limits, read_job
from ourvidz_worker.domain.request import ImageRequest, VideoRequest
from ourvidz_worker.testing.supabase import (
    ENCODINGS,
    Application,
    Fault,
    Keys,
    SupabaseEmulator,
    list_of,
    payloads,
    supabase_process,
)
from ourvidz_worker.testing.supabase.elements import Encode
from ourvidz_worker.testing.supabase.payloads import Seed, VideoMode
from ourvidz_worker.testing.supabase.state import Revision

SEED = Seed(job_id="11111111-2222-3333-4444-555555555555", user_id="user-1")


@pytest.fixture
def pushed() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def application(supabase: SupabaseEmulator, pushed: list[tuple[str, str]]) -> Iterator[Application]:
    application = Application.of(supabase, lambda queue, element: pushed.append((queue, element)))
    yield application
    application.close()


def test_a_job_has_a_row_and_an_element(
    application: Application, pushed: list[tuple[str, str]]
) -> None:
    """C2 pushes an array of one JSON string."""
    job_id = application.submit(payloads.text_to_image(SEED))
    ((queue, element),) = pushed
    assert queue == "sdxl_queue"
    assert json.loads(json.loads(element)[0])["id"] == job_id
    assert application.row(job_id)["status"] == "queued"
    application.cancel(job_id)
    assert application.statuses() == {job_id: "cancelled"}


def test_a_chat_job_has_no_row(application: Application, pushed: list[tuple[str, str]]) -> None:
    """J-2."""
    application.submit(payloads.chat(SEED))
    assert [queue for queue, _ in pushed] == ["chat_queue"]
    assert application.statuses() == {}


def test_a_reference_is_signed_and_stored(application: Application) -> None:
    url = application.reference("user-1", b"picture")
    assert "/storage/v1/object/sign/user-library/user-1/" in url
    (name,) = application.objects()
    assert application.object(name) == b"picture"


@pytest.mark.parametrize("encode", ENCODINGS.values(), ids=ENCODINGS)
def test_every_encoding_holds_the_job(encode: Encode) -> None:
    """Q-20: as many JSON steps as it takes."""
    found: Any = json.loads(encode({"id": "j"}))
    while not (isinstance(found, dict) and "id" in found):
        found = json.loads(found) if isinstance(found, str) else found
        found = found[0] if isinstance(found, list) else found
        found = found.get("data", found) if isinstance(found, dict) else found
    assert found == {"id": "j"}


@pytest.mark.parametrize(
    ("job_type", "queue"),
    [
        ("sdxl_image_fast", "sdxl_queue"),
        ("image_high", "sdxl_queue"),
        ("video_fast", "wan_queue"),
        ("chat_enhance", "chat_queue"),
    ],
)
def test_the_client_chooses_the_list_by_name(job_type: str, queue: str) -> None:
    """Q-1: pictures of Wan land in the list of the other family."""
    assert list_of(job_type) == queue


REFERENCE = "user-library/user-1/a.png"


def seed_of(revision: Revision) -> Seed:
    return Seed(job_id="job-1", user_id="user-1", revision=revision)


def request_of(payload: payloads.Payload) -> object:
    return read_job(json.dumps(payload).encode(), limits=Limits()).request


@pytest.mark.parametrize("revision", get_args(Revision))
def test_pictures_of_both_revisions_are_what_they_seem(revision: Revision) -> None:
    """3.3, 4.1: a stray strength makes no reference, and the copy button copies."""
    seed = seed_of(revision)
    plain = request_of(payloads.text_to_image(seed, images=3))
    assert isinstance(plain, ImageRequest)
    assert (plain.reference, plain.count) == (None, 3)
    changed = request_of(payloads.modify(seed, REFERENCE))
    assert isinstance(changed, ImageRequest)
    assert (changed.mode, changed.strength) == ("modify", 0.35)
    for payload in (payloads.ui_copy(seed, REFERENCE), payloads.api_copy(seed, REFERENCE)):
        copied = request_of(payload)
        assert isinstance(copied, ImageRequest)
        assert (copied.mode, copied.strength) == ("copy", 0.05)


@pytest.mark.parametrize("revision", get_args(Revision))
@pytest.mark.parametrize("mode", get_args(VideoMode))
def test_clips_of_both_revisions_have_their_references(revision: Revision, mode: VideoMode) -> None:
    """Section 5: the mode follows from what is there."""
    payload = payloads.video(
        seed_of(revision), mode, first=REFERENCE, last=REFERENCE, image=REFERENCE
    )
    request = request_of(payload)
    assert isinstance(request, VideoRequest)
    assert (request.mode, request.frames, request.width) == (mode, 81, 480)


def test_the_emulator_outlives_what_steers_it() -> None:
    """Its own process, its own database, the same application."""
    keys = Keys(service="another-service-key", revision="C1")
    elements: list[str] = []
    with supabase_process(lambda _, element: elements.append(element), keys=keys) as (url, app):
        assert url.startswith("http://localhost:")
        job_id = app.submit(payloads.text_to_image(SEED))
        assert json.loads(elements[0])["job_type"] == "sdxl_image_fast"
        assert app.row(job_id)["status"] == "queued"
        app.add_fault(Fault(call="storage.sign", status=503, times=None))
        app.clear_faults()
        assert app.reference("user-1", b"picture").startswith(url)
        assert app.config() == {}
        assert app.complaints() == []
        assert app.callbacks() == []
