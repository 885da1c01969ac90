"""Going on without a reference: only where allowed, once, and openly (contract 4.4)."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.unit.pod.scene import Scene

from ourvidz_worker.callbacks import Teller
from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.domain.intake import Limits
from ourvidz_worker.domain.job import Job, Lease, Status, Token
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.messages import Run
from ourvidz_worker.domain.request import ImageRequest, VideoRequest
from ourvidz_worker.pod.fallback import read_or_fall_back
from ourvidz_worker.pod.preparation import Preparation, Prepared
from ourvidz_worker.queue import Settlement
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

GONE = {"reference_image_url": "user-library/u/none.png"}
FOREIGN = {"reference_image_url": "user-library/someone/a.png"}
NOT_FOUND = "REFERENCE_FRAME_ERROR:REFERENCE_NOT_FOUND"


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    made = Scene(tmp_path)
    await made.open()
    yield made
    await made.close()


class RealTeller:
    """Owes the real bodies and keeps the last one."""

    def __init__(self) -> None:
        self._teller = Teller("w", Limits(), FakeClock())
        self.told: dict[str, Any] = {}

    def processing(self, lease: Lease) -> bytes | None:
        return self._teller.processing(lease)

    def progress(self, lease: Lease, fraction: float) -> None:
        raise AssertionError("no progress was asked for")

    def ended(self, lease: Lease, end: Settlement) -> bytes | None:
        body = self._teller.ended(lease, end)
        self.told = json.loads(body or b"{}")
        return body


async def run_through(scene: Scene, **fields: object) -> Run:
    """Submit a job and let the worker finish it; the run it was given."""
    await scene.submit(**fields)
    _, task = await scene.begin()
    run = await scene.given()
    scene.finish(run)
    await task
    return run


@pytest.mark.parametrize(
    ("by_default", "allow", "falls"),
    [
        (False, None, False),
        (True, None, True),
        (False, True, True),
        (True, False, False),
    ],
)
async def test_the_job_goes_before_the_pod_in_both_directions(
    scene: Scene, by_default: bool, allow: bool | None, falls: bool
) -> None:
    """F-1: `fail` is the default; `allow_fallback` overrides either way."""
    scene.prepare_with(falls_back=by_default)
    await scene.submit(metadata=GONE, allow_fallback=allow)
    _, task = await scene.begin()
    if falls:
        scene.finish(await scene.given())
    await task
    record = await scene.record()
    assert record.status is (Status.COMPLETED if falls else Status.FAILED)
    assert record.code == (None if falls else "REFERENCE_FRAME_ERROR")


async def test_a_dropped_reference_is_told_in_every_word(scene: Scene) -> None:
    """F-3: what was asked, what ran, and why."""
    teller = RealTeller()
    scene.tell_with(teller)
    run = await run_through(
        scene, metadata={**GONE, "allow_fallback": True}, config={"denoise_strength": 0.4}
    )
    assert isinstance(run.request, ImageRequest)
    assert (run.request.mode, run.request.reference, run.references) == ("none", None, {})
    metadata, asset = teller.told["metadata"], teller.told["assets"][0]["metadata"]
    assert (metadata["fallback_used"], metadata["fallback_reason"]) == (True, NOT_FOUND)
    assert (metadata["fallback_from"], metadata["fallback_to"]) == ("img2img", "txt2img")
    assert (metadata["reference_mode"], metadata["requested_reference_mode"]) == ("none", "modify")
    assert asset["pipeline"] == "txt2img"
    for key in ("denoise_strength", "resize_policy"):
        assert key not in asset
        assert key not in metadata


async def test_a_job_that_kept_its_reference_says_so(scene: Scene) -> None:
    """F-3: every completed callback has both keys."""
    teller = RealTeller()
    scene.tell_with(teller)
    await run_through(scene, metadata={"reference_image_url": await scene.keep_picture()})
    metadata = teller.told["metadata"]
    assert metadata["fallback_used"] is False
    assert metadata["fallback_reason"] is None


async def test_another_users_picture_never_falls_back(scene: Scene) -> None:
    """F-2: `REFERENCE_FORBIDDEN` is refused whatever is allowed."""
    scene.prepare_with(falls_back=True)
    await scene.submit(metadata=FOREIGN, allow_fallback=True)
    _, task = await scene.begin()
    await task
    record = await scene.record()
    assert (record.status, record.facts["error_reason"]) == (Status.FAILED, "REFERENCE_FORBIDDEN")
    assert record.facts["stage"] == "reference"


@pytest.mark.parametrize("metadata", [GONE, {**GONE, "exact_copy_mode": True}])
async def test_a_job_without_a_prompt_cannot_fall_back(
    scene: Scene, metadata: dict[str, object]
) -> None:
    """F-2: a copy with an empty prompt has nothing else to go by."""
    await scene.submit(prompt="", metadata=metadata, allow_fallback=True)
    _, task = await scene.begin()
    await task
    record = await scene.record()
    assert (record.status, record.code) == (Status.FAILED, "REFERENCE_FRAME_ERROR")


async def test_a_copy_with_a_prompt_falls_back_to_its_types_own_guidance(scene: Scene) -> None:
    """F-2, 4.1: what a copy executes otherwise belongs to the copy."""
    run = await run_through(
        scene, metadata={**GONE, "exact_copy_mode": True, "allow_fallback": True}
    )
    assert isinstance(run.request, ImageRequest)
    assert (run.request.guidance, run.request.mode) == (6.0, "none")
    record = await scene.record()
    assert record.facts["requested_reference_mode"] == "copy"
    assert record.facts["exact_copy_mode"] is False


async def test_a_failing_image_pipeline_is_run_again_without_the_picture(scene: Scene) -> None:
    """F-2, 11: `I2I_PIPELINE_ERROR` inside the worker, within the same lease and deadline."""
    key = await scene.keep_picture()
    await scene.submit(metadata={"reference_image_url": key}, allow_fallback=True)
    _, task = await scene.begin()
    first = await scene.given()
    await scene.clock.advance(50)
    scene.fail(first, "I2I_PIPELINE_ERROR", retryable=False)
    second = await scene.given()
    assert isinstance(second.request, ImageRequest)
    assert (second.request.mode, second.references, second.seed) == ("none", {}, first.seed)
    assert second.deadline_s == pytest.approx(first.deadline_s - 50)
    scene.finish(second)
    await task
    record = await scene.record()
    assert (record.status, record.tries) == (Status.COMPLETED, 1)
    assert record.facts["fallback_reason"] == "I2I_PIPELINE_ERROR"
    assert await scene.owed() == ["processing", "completed"]


async def test_there_is_one_fallback_and_no_second(scene: Scene) -> None:
    """F-2: one per job."""
    scene.prepare_with(falls_back=True)
    await scene.submit(metadata=GONE)
    _, task = await scene.begin()
    scene.fail(await scene.given(), "I2I_PIPELINE_ERROR", retryable=False)
    await task
    assert (await scene.record()).code == "I2I_PIPELINE_ERROR"


@pytest.mark.parametrize("code", ["OOM_ERROR", "TIMEOUT_ERROR", "MODEL_LOAD_ERROR"])
async def test_nothing_else_falls_back(scene: Scene, code: str) -> None:
    """F-2: memory, time-outs and model errors never do."""
    key = await scene.keep_picture()
    await scene.submit(metadata={"reference_image_url": key}, allow_fallback=True)
    _, task = await scene.begin()
    run = await scene.given()
    scene.fail(run, code)
    await task
    assert scene.runs() == []
    assert (await scene.record()).status in {Status.WAITING, Status.FAILED}


async def test_a_picture_that_the_worker_cannot_read_falls_back_too(scene: Scene) -> None:
    """F-2: `REFERENCE_FRAME_ERROR` wherever it arises."""
    key = await scene.keep_picture()
    await scene.submit(metadata={"reference_image_url": key}, allow_fallback=True)
    _, task = await scene.begin()
    scene.fail(await scene.given(), "REFERENCE_FRAME_ERROR", reason="REFERENCE_NOT_AN_IMAGE")
    scene.finish(await scene.given())
    await task
    facts = (await scene.record()).facts
    assert facts["fallback_reason"] == "REFERENCE_FRAME_ERROR:REFERENCE_NOT_AN_IMAGE"


class NoReferences:
    """Finds no picture at all."""

    async def fetch(self, reference: str, user_id: str, file: Path) -> None:
        raise AssertionError("nothing is to be fetched")


async def enhance(request: VideoRequest, seed: int) -> tuple[VideoRequest, dict[str, Any]]:
    raise AssertionError("nothing is to be extended")


async def prepared(tmp_path: Path, kind: str, **fields: object) -> Prepared:
    payload = {"id": "j", "user_id": "u", "type": kind, "prompt": "p", **fields}
    row = JOB_TYPES[kind]
    job = Job(
        id="j",
        type=kind,
        user_id="u",
        lane=row.lane,
        priority=row.priority,
        payload=json.dumps(payload).encode(),
        submitted_at=0.0,
    )
    lease = Lease(job=job, token=Token(job_id="j", fence=1), tries=1, seed=7)
    preparation = Preparation(Limits(), NoReferences(), enhance, falls_back=True)
    return await preparation.prepare(lease, tmp_path / "spool")


@pytest.mark.parametrize(
    ("kind", "fields", "mode", "reason"),
    [
        (
            "video_fast",
            {"metadata": {"video_reference_mode": "both", "start_reference_url": "user-library/a"}},
            "both",
            "REFERENCE_MISSING",
        ),
        (
            "image_fast",
            {"config": {"first_frame": "user-library/u/a.png"}},
            "start",
            "REFERENCE_UNSUPPORTED",
        ),
    ],
)
async def test_what_cannot_be_read_as_asked_may_fall_back(
    tmp_path: Path, kind: str, fields: dict[str, object], mode: str, reason: str
) -> None:
    """F-2, 4.3: also the reasons that the job object itself gives."""
    found = await prepared(tmp_path, kind, **fields)
    assert isinstance(found.request, VideoRequest)
    assert (found.request.mode, found.fell_back) == ("none", True)
    assert found.facts["requested_reference_mode"] == mode
    assert found.facts["fallback_reason"] == f"REFERENCE_FRAME_ERROR:{reason}"
    assert found.request.recorded.ignored_fields == ()


MISSING = {"metadata": {"video_reference_mode": "start"}}


@pytest.mark.parametrize(
    ("fields", "by_default", "accepted"),
    [
        (MISSING, False, False),
        (MISSING, True, True),
        (MISSING | {"allow_fallback": True}, False, True),
        (MISSING | {"allow_fallback": False}, True, False),
        (MISSING | {"allow_fallback": True, "prompt": ""}, False, False),
    ],
)
def test_a_job_that_may_fall_back_is_accepted_over_http_too(
    fields: dict[str, object], by_default: bool, accepted: bool
) -> None:
    """F-1, F-2: the same rule wherever a job comes from."""
    job = {"id": "j", "user_id": "u", "type": "video_fast", "prompt": "p", **fields}
    payload = json.dumps(job).encode()
    if not accepted:
        with pytest.raises(BadReference):
            read_or_fall_back(payload, job_id="j", limits=Limits(), by_default=by_default)
        return
    found = read_or_fall_back(payload, job_id="j", limits=Limits(), by_default=by_default)
    assert (getattr(found.request, "mode", ""), found.asked_mode) == ("none", "start")
