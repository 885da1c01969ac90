"""Files are stored all together or not at all, and made once (lines 12 and 13)."""

from collections.abc import Iterator, Mapping

import pytest
from tests.contract.never_again.worlds import KINDS, Deployed, World, seed, until, world_of

from ourvidz_worker.testing.supabase import Fault
from ourvidz_worker.testing.supabase.payloads import Payload, text_to_image, video

pytestmark = pytest.mark.e2e

SHORT: Payload = {"num_inference_steps": 1, "sample_steps": 1}

LOST = {"picture": "0.png", "clip": "0.mp4", "batch": "1.png"}
"""The one file of each job that the storage never takes."""


@pytest.fixture(scope="module", params=KINDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Each of the two worlds with a pod; `begun` in its folder has a line for each attempt."""
    folder = tmp_path_factory.mktemp("uploads")
    options = f'{{"witness": "{folder / "begun"}"}}'
    with world_of(request.param, folder) as made, made.running(OURVIDZ_FAKE_OPTIONS=options):
        yield made


beside = pytest.mark.parametrize("world", ["deployed"], indirect=True)
"""A folder refuses nothing for good."""


@pytest.fixture(scope="module")
def doomed(world: World) -> Mapping[str, str]:
    """Jobs whose uploads fail for as long as they are tried, all together; all have ended."""
    before = begun(world)
    jobs = {
        "picture": text_to_image(seed(config=SHORT)),
        "clip": video(seed(config=SHORT)),
        "batch": text_to_image(seed(config=SHORT), images=3),
    }
    for name, payload in jobs.items():
        world.refuse_file(str(payload["id"]), LOST[name])
    handed = {name: world.hand_in(payload) for name, payload in jobs.items()}
    for job in handed.values():
        world.end_of(job)
    world.mend()
    assert begun(world) - before == len(jobs), "each was made once"
    return handed


def begun(world: World) -> int:
    """How many attempts have begun."""
    file = world.folder / "begun"
    return len(file.read_bytes().splitlines()) if file.exists() else 0


def check_failed(world: World, job: str) -> None:
    """Assert that the job failed by its upload, and that nothing of it lies in the storage."""
    end = world.end_of(job).body
    assert (end["status"], end["assets"]) == ("failed", [])
    told = end["metadata"]
    assert (told["error_code"], told["stage"], told["retryable"]) == (
        "UPLOAD_ERROR",
        "upload",
        True,
    )
    assert told["attempts"] == 1
    assert world.statuses(job) == ["processing", "failed"]
    assert world.files(job) == []
    if isinstance(world, Deployed):
        assert world.application.row(job)["status"] == "failed"
        assert world.application.assets(job) == []


@pytest.mark.parametrize("name", ["picture", "clip"])
def test_12_what_cannot_be_stored_is_never_completed(
    world: World, doomed: Mapping[str, str], name: str
) -> None:
    """U-1, U-4: the same bytes four times, then `failed`; it is not made again."""
    check_failed(world, doomed[name])
    if isinstance(world, Deployed):
        part = f"{doomed[name]}/{LOST[name]}"
        puts = world.application.calls("storage.put", part=part)
        assert len(puts) == 4
        assert len({call.sha256 for call in puts}) == 1


def test_13_a_batch_that_lost_one_file_fails_whole(world: World, doomed: Mapping[str, str]) -> None:
    """U-4: what was stored of the three is taken away."""
    check_failed(world, doomed["batch"])
    if isinstance(world, Deployed):
        puts = world.application.calls("storage.put", part=f"{doomed['batch']}/0.png")
        assert [call.status for call in puts] == [200], "the first one was there"


def test_12_a_storage_that_comes_back_gets_what_was_kept(world: World) -> None:
    """U-1: tried again with the kept bytes; the picture is made once."""
    before = begun(world)
    payload = text_to_image(seed(config=SHORT))
    job = str(payload["id"])
    world.refuse_file(job, "0.png")
    world.hand_in(payload)
    until(lambda: world.was_refused(job, "0.png"))
    world.mend()
    end = world.end_of(job).body
    assert (end["status"], end["metadata"]["attempts"]) == ("completed", 1)
    assert len(world.files(job)) == 2
    assert begun(world) == before + 1


@beside
@pytest.mark.parametrize("status", [400, 413])
def test_12_what_is_refused_for_good_is_not_asked_again(world: Deployed, status: int) -> None:
    """U-1: another 4xx is final, with files of the same batch stored before it."""
    before = begun(world)
    payload = text_to_image(seed(config=SHORT), images=2)
    job = str(payload["id"])
    fault = Fault(call="storage.put", status=status, path=f"{job}/1.png", times=None)
    world.application.add_fault(fault)
    try:
        world.hand_in(payload)
        end = world.end_of(job).body
    finally:
        world.mend()
    assert (end["status"], end["metadata"]["error_code"]) == ("failed", "UPLOAD_ERROR")
    assert world.files(job) == []
    assert len(world.application.calls("storage.put", part=f"{job}/1.png")) == 1
    assert begun(world) == before + 1
