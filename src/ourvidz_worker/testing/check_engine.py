"""The contract suite of engines: what a worker relies on, whatever the model.

    @pytest.mark.parametrize("sample", SAMPLES, ids=str)
    @pytest.mark.parametrize("check", CHECKS, ids=name_of)
    def test_engine(check, sample, engine, tmp_path):
        check(engine, sample, tmp_path)

`engine` is loaded, by `load_checked`, which is a check of its own. A sample should be as small as
the model allows: `check_stops` runs it once for every question that it asks its gate.
"""

import hashlib
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import av
import msgspec
import numpy as np
from PIL import Image

from ourvidz_worker.domain.artifact import Artifact
from ourvidz_worker.domain.errors import OurvidzError, StopRequested
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.request import AdminRequest, ChatRequest, Request
from ourvidz_worker.engines import Engine, Gate, Product, Stage, Task
from ourvidz_worker.testing.gate import RecordingGate

THUMBNAIL_EDGE = 256
UNREAL = AdminRequest(job_type="admin_utilities")
"""A request that no engine serves."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One request to try an engine with; `references` maps a role to a picture file.

    `stop_every` lets `check_stops` try only every so many questions, for a slow engine.
    """

    name: str
    request: Request
    seed: int = 7
    references: Mapping[str, Path] = field(default_factory=dict)
    stop_every: int = 1

    def __str__(self) -> str:
        """The name of the test."""
        return self.name

    def task(self, spool: Path) -> Task:
        """The task, with an empty spool directory of its own."""
        spool.mkdir(parents=True)
        return Task(
            request=self.request, seed=self.seed, spool=spool, references=dict(self.references)
        )


def load_checked(engine: Engine[Any]) -> Engine[Any]:
    """Load an engine: it tells its parts in order and describes what it then holds."""
    told: list[tuple[str, float]] = []
    engine.load(lambda part, fraction: told.append((part, fraction)))
    assert told, "load told nothing"
    assert all(part for part, _ in told)
    fractions = [fraction for _, fraction in told]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    description = engine.describe()
    assert description.engine
    assert description.model
    assert "/" not in description.model, "a description holds no path"
    assert description.device
    assert description.capacity >= 1
    assert description.components
    assert all(size > 0 for size in description.components.values())
    msgspec.json.encode(description)
    return engine


def check_stages(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """Stages are named, share out the whole time, and work on components that exist."""
    stages = engine.stages(sample.task(folder / "spool"))
    assert stages
    assert len({stage.name for stage in stages}) == len(stages)
    assert abs(sum(stage.share for stage in stages) - 1) < 1e-6
    held = set(engine.describe().components)
    for stage in stages:
        assert set(stage.components) <= held, f"{stage.name} works on what is not described"


def check_steps(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """Every stage reports steps to the gate; they only grow, and the last is not beyond the end."""
    gate = RecordingGate()
    task = sample.task(folder / "spool")
    compute(engine, task, gate)
    assert {step.stage for step in gate.steps} == {stage.name for stage in engine.stages(task)}
    for stage, group in groupby(gate.steps, key=lambda step: step.stage):
        steps = list(group)
        assert all(earlier.step < later.step for earlier, later in pairwise(steps)), stage
        assert len({step.steps for step in steps}) == 1, f"{stage} changes its number of steps"
        assert 0 <= steps[0].step <= steps[-1].step <= steps[-1].steps, stage
    assert len([stage for stage, _ in groupby(gate.steps, key=lambda step: step.stage)]) == len(
        {step.stage for step in gate.steps}
    ), "a stage was returned to"
    assert gate.tokens == sorted(gate.tokens)


def check_artifacts(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """Everything produced exists, is what its metadata says, and can be told to the pod."""
    spool = folder / "spool"
    gate = RecordingGate()
    product = run(engine, sample.task(spool), gate)
    assert product.artifacts
    assert [artifact.index for artifact in product.artifacts] == [*range(len(product.artifacts))]
    for artifact in product.artifacts:
        _check_artifact(artifact, spool)
    named = {name for each in product.artifacts for name in (each.file, each.thumbnail) if name}
    assert {path.name for path in spool.iterdir()} == named
    assert product.effective
    assert all(len(digest) == hashlib.sha256().digest_size * 2 for digest in product.fed.values())
    assert product.fed, "a receipt needs the digest of what each encoder was fed"
    assert product.versions
    msgspec.json.encode(product)
    if isinstance(sample.request, ChatRequest):
        assert gate.text_so_far.strip() == product.artifacts[0].text


def check_seed(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """The same seed gives the same bytes, and another picture of a batch has another seed."""
    first = run(engine, sample.task(folder / "first"), RecordingGate())
    again = run(engine, sample.task(folder / "again"), RecordingGate())
    assert digests(first) == digests(again)
    assert first.fed == again.fed
    seeds = [each.metadata.get("seed") for each in first.artifacts if each.media != Media.TEXT]
    assert seeds == [sample.seed + index for index in range(len(seeds))]
    assert len(set(digests(first))) == len(first.artifacts), "two pictures of a batch are equal"


def check_stops(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """A stop at any question leaves at once without a file, and harms no later task.

    A text is asked about while it waits for its tokens, so another run may ask more seldom.
    """
    may_vary = isinstance(sample.request, ChatRequest)
    counted = RecordingGate()
    before = run(engine, sample.task(folder / "before"), counted)
    assert counted.calls > 0
    for call in range(1, counted.calls + 1, sample.stop_every):
        task = sample.task(folder / f"stopped-{call}")
        gate = RecordingGate(stop_at=call)
        stop = _raised(partial(compute, engine, task, gate))
        if may_vary and stop is None:
            assert 1 <= gate.calls < call, f"the engine went on past question {call}"
            continue
        assert isinstance(stop, StopRequested), f"the engine went on past question {call}"
        assert gate.calls == call, "the engine went on after it was told to stop"
        assert list(task.spool.iterdir()) == [], "a stopped task left a file"
    after = run(engine, sample.task(folder / "after"), RecordingGate())
    assert digests(before) == digests(after)


def check_overlap(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """Files may be made in another thread, after the next task has computed."""
    alone = run(engine, sample.task(folder / "alone"), RecordingGate())
    task, other = sample.task(folder / "one"), sample.task(folder / "two")
    work = compute(engine, task, RecordingGate())
    next_work = compute(engine, other, RecordingGate())
    with ThreadPoolExecutor(1) as thread:
        product = thread.submit(engine.finish, work, task.spool).result()
        next_product = thread.submit(engine.finish, next_work, other.spool).result()
    assert digests(product) == digests(next_product) == digests(alone)


def check_previews(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """Previews, where there are any, are small WEBP pictures that change nothing."""
    shown = folder / "previews"
    shown.mkdir()
    gate = RecordingGate(folder=shown)
    watched = run(engine, sample.task(folder / "watched"), gate)
    unwatched = run(engine, sample.task(folder / "unwatched"), RecordingGate())
    assert digests(watched) == digests(unwatched)
    for path in gate.previews:
        with Image.open(path) as preview:
            assert preview.format == "WEBP"
            assert max(preview.size) <= THUMBNAIL_EDGE


def check_errors(engine: Engine[Any], sample: Sample, folder: Path) -> None:
    """A request that the engine does not serve is refused by an error of ours, before any work."""
    task = msgspec.structs.replace(sample.task(folder / "spool"), request=UNREAL)
    error = _raised(lambda: engine.begin(task))
    assert isinstance(error, OurvidzError), "the engine begins what it cannot do"
    assert not error.may_retry
    assert list(task.spool.iterdir()) == []


Check = Callable[[Engine[Any], Sample, Path], None]

CHECKS: tuple[Check, ...] = (
    check_stages,
    check_steps,
    check_artifacts,
    check_seed,
    check_stops,
    check_overlap,
    check_previews,
    check_errors,
)


def name_of(check: Check) -> str:
    """A check's name, for a test's id."""
    return check.__name__.removeprefix("check_")


def compute(engine: Engine[Any], task: Task, gate: Gate) -> Any:  # noqa: ANN401 - an engine's own
    """All stages of a task, in order; the work is ready to be finished."""
    work = engine.begin(task)
    for stage in engine.stages(task):
        work = _run_stage(stage, work, gate)
    return work


def run(engine: Engine[Any], task: Task, gate: RecordingGate) -> Product:
    """A task from begin to finish, which must not need the gate."""
    work = compute(engine, task, gate)
    gate.close()
    return engine.finish(work, task.spool)


def digests(product: Product) -> list[str]:
    """What came out, each by its digest."""
    return [artifact.sha256 for artifact in product.artifacts]


def _run_stage(stage: Stage[Any], work: object, gate: Gate) -> object:
    return stage.run(work, gate)


def _raised(call: Callable[[], object]) -> BaseException | None:
    """What `call` raised of ours; anything else passes through."""
    try:
        call()
    except (OurvidzError, StopRequested) as error:
        return error
    return None


def _check_artifact(artifact: Artifact, spool: Path) -> None:
    assert artifact.metadata["asset_index"] == artifact.index
    if artifact.media is Media.TEXT:
        assert artifact.text is not None
        data = artifact.text.encode()
    else:
        assert artifact.file is not None
        data = (spool / artifact.file).read_bytes()
        assert artifact.metadata["file_size_bytes"] == len(data)
        _check_media(artifact, spool / artifact.file)
        _check_thumbnail(artifact, spool)
    assert artifact.size_bytes == len(data)
    assert artifact.sha256 == hashlib.sha256(data).hexdigest()


def _check_media(artifact: Artifact, file: Path) -> None:
    """The file, decoded by another path than the engine's own."""
    said = artifact.metadata
    size = (said["width"], said["height"])
    if artifact.media is Media.IMAGE:
        assert (artifact.media_type, said["format"]) == ("image/png", "png")
        with Image.open(file) as picture:
            assert (picture.format, picture.mode, picture.size) == ("PNG", "RGB", size)
            assert np.asarray(picture).std() > 0, "one flat colour"
            assert not [key for key, value in picture.info.items() if isinstance(value, str)]
        return
    assert (artifact.media_type, said["format"]) == ("video/mp4", "mp4")
    with av.open(str(file)) as clip:
        stream = clip.streams.video[0]
        frames = [(frame.width, frame.height) for frame in clip.decode(stream)]
        assert stream.codec_context.name == said["codec"] == "h264"
        assert stream.average_rate == said["fps"]
    assert frames == [size] * len(frames)
    assert len(frames) == said["frame_num"]
    assert said["duration_seconds"] == len(frames) / float(str(said["fps"]))


def _check_thumbnail(artifact: Artifact, spool: Path) -> None:
    assert artifact.thumbnail is not None
    width, height = (int(str(artifact.metadata[side])) for side in ("width", "height"))
    with Image.open(spool / artifact.thumbnail) as small:
        assert small.format == "WEBP"
        assert max(small.size) == min(THUMBNAIL_EDGE, max(width, height))
        assert abs(small.width * height - small.height * width) <= max(width, height)
