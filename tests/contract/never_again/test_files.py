"""Produced files: judged by decoding, and never another job's (lines 31 and 32)."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path
from threading import Barrier
from typing import Any

import av
import numpy as np
import pytest
from msgspec.structs import replace
from PIL import Image
from tests.contract.never_again.engine_pod import engine_pod
from tests.contract.never_again.jobs import clip_job, picture_job
from tests.unit.worker.pod_end import PodEnd
from tests.unit.worker.worker_parts import PICTURE, make_run

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.messages import Cancel, Finished, Progress, Ready, Run, Stopped
from ourvidz_worker.engines import Engine, EngineSettings
from ourvidz_worker.engines.encode import FPS, Pixels, keep_clip, verify_mp4, write_mp4
from ourvidz_worker.engines.fake import FakeEngine

OLD_LIMIT_BYTES = 240_000
"""What a clip of the past had to be larger than."""

MEETING_S = 30.0
LONG = 100_000
"""Steps of a picture that takes longer than any test."""


def quiet(frames: int, height: int, width: int) -> Pixels:
    """Frames that are all but equal: one small patch grows brighter half way."""
    ramp = np.linspace(40, 200, height * width * 3).reshape(height, width, 3)
    made = np.stack([ramp.astype(np.uint8)] * frames)
    made[frames // 2 :, 8:16, 8:16] += 20
    return made


def test_31_a_full_clip_with_little_motion_is_accepted_as_small_as_it_is(tmp_path: Path) -> None:
    """V-4: 81 frames at full size, far below the old limit, are kept and measured."""
    kept = keep_clip(tmp_path, 0, quiet(81, 480, 832), {})
    said = kept.artifact.metadata
    assert int(str(said["file_size_bytes"])) == (tmp_path / "0.mp4").stat().st_size
    assert kept.artifact.size_bytes < OLD_LIMIT_BYTES
    assert (said["frame_num"], said["width"], said["height"]) == (81, 832, 480)
    assert (said["fps"], said["duration_seconds"]) == (FPS, 81 / FPS)
    assert kept.warnings == ()
    assert kept.artifact.thumbnail == "0.thumb.webp"


@pytest.mark.anyio
async def test_31_a_job_of_such_a_clip_completes(
    tmp_path: Path, wan: Engine[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """V-4 through the whole pod, with a decoder that draws no motion."""
    vae = wan._loaded.vae  # type: ignore[attr-defined]
    monkeypatch.setattr(type(vae), "decode", lambda self, latents, tick: _ticked(tick))
    async with engine_pod(tmp_path, wan) as pod:
        told = await pod.completed(clip_job(config={"frame_num": 9}))
    assert told.asset["file_size_bytes"] == told.file().stat().st_size < OLD_LIMIT_BYTES / 50
    with av.open(str(told.file())) as clip:
        assert len(list(clip.decode(video=0))) == told.asset["frame_num"] == 9


def _ticked(tick: Any) -> Pixels:  # noqa: ANN401 - the engine's own
    tick(3, 3)
    return quiet(9, 48, 32)


def test_31_a_large_file_that_cannot_be_decoded_is_refused(tmp_path: Path) -> None:
    """V-4: bytes prove nothing: a cut clip above the old limit fails, as does a wrong length."""
    noise = np.random.default_rng(1).integers(0, 255, (9, 240, 320, 3), np.uint8)
    whole, cut = tmp_path / "whole.mp4", tmp_path / "cut.mp4"
    write_mp4(whole, noise)
    data = whole.read_bytes()
    cut.write_bytes(data[: len(data) * 2 // 3])
    assert cut.stat().st_size > OLD_LIMIT_BYTES
    assert verify_mp4(whole, expected=(9, 320, 240)).frames == 9
    with pytest.raises(AttemptError):
        verify_mp4(cut)
    with pytest.raises(AttemptError):
        verify_mp4(whole, expected=(13, 320, 240))


@pytest.mark.anyio
async def test_32_two_jobs_at_once_each_get_their_own_file(tmp_path: Path) -> None:
    """V-5: equal names in folders of their own; both attempts are in the engine together."""
    together = Barrier(2)
    settings = EngineSettings(options={"capacity": 2, "steps_s": 0.01})
    engine = FakeEngine(settings, pause=lambda seconds: together.wait(MEETING_S))
    async with engine_pod(tmp_path, engine) as pod:
        jobs = [picture_job(seed=seed, config={"num_inference_steps": 1}) for seed in (1, 2)]
        one, other = await asyncio.gather(*(pod.completed(job) for job in jobs))
        runs = pod.runs()
        assert len({run.spool for run in runs}) == 2
        assert list(pod.spool.iterdir()) == [], "work folders are gone afterwards"
        for told, job in ((one, jobs[0]), (other, jobs[1])):
            (asset,) = told.end["assets"]
            assert asset["url"] == f"{job['user_id']}/{job['id']}/0.png"
            assert told.asset["seed"] == job["seed"]
            main = next(file for file in told.receipt.files if file.name == "0.png")
            assert hashlib.sha256(told.data()).hexdigest() == main.sha256
        assert one.data() != other.data()
        alone = Barrier(1)
        engine = FakeEngine(settings, pause=lambda seconds: alone.wait(MEETING_S))
    async with engine_pod(tmp_path / "again", engine) as pod:
        again = await pod.completed(jobs[1] | {"id": "alone"})
    assert again.data() == other.data()


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[PodEnd]:
    """A real worker process that runs two attempts at once, 20 ms a step."""
    (tmp_path / "worker").mkdir()
    started = PodEnd(tmp_path / "worker", options={"capacity": 2, "steps_s": 0.02})
    yield started
    started.end()


def test_32_a_stopped_attempt_takes_only_its_own_files(worker: PodEnd, tmp_path: Path) -> None:
    """V-5: with the other one's folder and file linked into it, a stop removes the links alone."""
    worker.expect(Ready)
    kept = make_run(tmp_path, "kept")
    stopped = make_run(tmp_path, "stopped", replace(PICTURE, steps=LONG))
    linked, folder = Path(stopped.spool) / "0.png", Path(stopped.spool) / "other"
    linked.symlink_to(Path(kept.spool) / "0.png")
    folder.symlink_to(kept.spool, target_is_directory=True)
    for run in (stopped, kept):
        worker.send(run)
    assert worker.outcome().attempt_id == kept.attempt_id
    mine = files_of(kept)
    assert set(mine) >= {"0.png", "0.thumb.webp"}
    worker.send(Cancel(attempt_id=stopped.attempt_id))
    end = worker.outcome()
    assert end == Stopped(attempt_id=stopped.attempt_id, reason="cancelled")
    assert list(Path(stopped.spool).iterdir()) == []
    assert files_of(kept) == mine


def test_32_an_outcome_names_files_of_its_own_folder_alone(worker: PodEnd, tmp_path: Path) -> None:
    """V-5: what is returned is what that attempt made, though a newer file of that name exists."""
    worker.expect(Ready)
    runs = [make_run(tmp_path, name) for name in ("first", "second")]
    for seed, run in enumerate(runs):
        worker.send(replace(run, seed=seed))
    ends = {}
    for _ in runs:
        end = worker.outcome()
        assert isinstance(end, Finished)
        ends[end.attempt_id] = end
    made = {}
    for run in runs:
        (artifact,) = ends[run.attempt_id].artifacts
        assert artifact.file == Path(str(artifact.file)).name == "0.png"
        data = (Path(run.spool) / artifact.file).read_bytes()
        assert hashlib.sha256(data).hexdigest() == artifact.sha256
        with Image.open(Path(run.spool) / artifact.file) as picture:
            assert picture.size == (64, 48)
        made[run.attempt_id] = data
    assert made["first"] != made["second"]
    started = {report.attempt_id for report in worker.seen if isinstance(report, Progress)}
    assert started == set(made)


def files_of(run: Run) -> dict[str, bytes]:
    """The names and bytes in a run's spool directory."""
    return {file.name: file.read_bytes() for file in Path(run.spool).iterdir()}
