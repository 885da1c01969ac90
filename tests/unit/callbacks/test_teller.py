"""The teller: bodies from leases and settlements, and silence for a cancelled job (K-20)."""

import json

import msgspec
import pytest

from ourvidz_worker.callbacks import Teller
from ourvidz_worker.domain.artifact import Asset, Metadata
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.job import Job, Lease, Status, Token
from ourvidz_worker.domain.job_types import JOB_TYPES, Media
from ourvidz_worker.domain.lane import PriorityClass
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.testing.clock import FakeClock


class End(msgspec.Struct, frozen=True, kw_only=True):
    """How a job ended."""

    status: Status
    assets: tuple[Asset, ...] = ()
    receipt: Receipt | None = None
    sentence: str | None = None
    facts: Metadata = {}


def lease(kind: str, **fields: object) -> Lease:
    payload = {"user_id": "u1", "type": kind, "prompt": "a red fox", **fields}
    job = Job(
        id="j1",
        type=kind,
        user_id="u1",
        lane=JOB_TYPES[kind].lane,
        priority=PriorityClass.NORMAL,
        payload=json.dumps(payload).encode(),
        submitted_at=0.0,
    )
    return Lease(job=job, token=Token(job_id="j1", fence=1), tries=2, seed=99)


def teller() -> Teller:
    return Teller("w1", Limits(), FakeClock())


PICTURE = Asset(index=0, media=Media.IMAGE, key="u1/j1/0.png", media_type="image/png", size_bytes=1)


def test_work_begins() -> None:
    body = json.loads(teller().processing(lease("sdxl_image_fast")))
    assert (body["job_id"], body["worker_id"], body["status"]) == ("j1", "w1", "processing")


@pytest.mark.parametrize(("config", "seed"), [({}, 99), ({"seed": 0}, 0), ({"seed": 5}, 5)])
def test_a_completed_job_tells_the_seed_it_used(config: dict[str, int], seed: int) -> None:
    end = End(status=Status.COMPLETED, assets=(PICTURE,), facts={"attempts": 2})
    body = teller().ended(lease("sdxl_image_fast", config=config), end)
    assert body is not None
    told = json.loads(body)
    assert told["metadata"]["base_seed"] == seed
    assert told["assets"][0]["metadata"]["seed"] == seed
    assert told["metadata"]["attempts"] == 2
    assert told["completedAt"] == "2023-11-14T22:13:20.000Z"


def test_a_failed_job_tells_its_sentence() -> None:
    end = End(status=Status.FAILED, sentence="No room.", facts={"error_code": "OOM_ERROR"})
    body = teller().ended(lease("video_fast"), end)
    assert body is not None
    told = json.loads(body)
    assert (told["status"], told["error_message"]) == ("failed", "No room.")
    assert told["metadata"]["error_code"] == "OOM_ERROR"


def test_a_failed_job_always_has_a_sentence() -> None:
    body = teller().ended(lease("video_fast"), End(status=Status.FAILED))
    assert body is not None
    assert json.loads(body)["error_message"] == "Generation failed; try again."


def test_a_cancelled_job_is_told_to_nobody() -> None:
    assert teller().ended(lease("video_fast"), End(status=Status.CANCELLED)) is None


@pytest.mark.parametrize("kind", sorted(JOB_TYPES))
def test_every_job_type_can_be_told(kind: str) -> None:
    media = JOB_TYPES[kind].media
    text = '{"ok": true}' if media is Media.TEXT else None
    asset = Asset(index=0, media=media, key="u1/j1/0.png", media_type="image/png", text=text)
    body = teller().ended(lease(kind), End(status=Status.COMPLETED, assets=(asset,)))
    assert body is not None
    told = json.loads(body)
    assert told["metadata"]["job_type"] == kind
    assert told["assets"][0]["type"] == media.value
