"""The engines' contract suite catches engines that break the contract."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ourvidz_worker.domain.request import ImageRequest
from ourvidz_worker.engines import EngineSettings, Gate, Product, Stage, Task
from ourvidz_worker.engines.fake import FakeEngine, FakeWork
from ourvidz_worker.testing.check_engine import (
    Check,
    Sample,
    check_artifacts,
    check_errors,
    check_overlap,
    check_seed,
    check_stages,
    check_steps,
    check_stops,
    load_checked,
)
from ourvidz_worker.testing.gate import RecordingGate

SAMPLE = Sample(
    name="picture",
    request=ImageRequest(
        job_type="sdxl_image_fast",
        prompt="a red kite",
        negative_prompt=None,
        steps=2,
        guidance=6.0,
        width=64,
        height=64,
    ),
)


class Deaf(FakeEngine):
    """Computes without ever asking."""

    def stages(self, task: Task) -> Sequence[Stage[FakeWork]]:
        def silently(stage: Stage[FakeWork]) -> Callable[[FakeWork, Gate], FakeWork]:
            return lambda work, _: stage.run(work, RecordingGate())

        return [replace(stage, run=silently(stage)) for stage in super().stages(task)]


class Hasty(FakeEngine):
    """Writes a file before it is asked to finish."""

    def begin(self, task: Task) -> FakeWork:
        (task.spool / "early.bin").write_bytes(b"x")
        return super().begin(task)


class Boastful(FakeEngine):
    """Claims a size that its file has not."""

    def finish(self, work: FakeWork, spool: Path) -> Product:
        product = super().finish(work, spool)
        artifact = product.artifacts[0]
        wrong = msgspec.structs.replace(artifact, metadata=artifact.metadata | {"width": 1024})
        return msgspec.structs.replace(product, artifacts=(wrong,))


class Forgetful(FakeEngine):
    """Lets one task's work leak into the next."""

    _count = 0

    def begin(self, task: Task) -> FakeWork:
        self._count += 1
        return super().begin(msgspec.structs.replace(task, seed=task.seed + self._count))


class Credulous(FakeEngine):
    """Begins whatever it is given."""

    def begin(self, task: Task) -> FakeWork:
        return super().begin(msgspec.structs.replace(task, request=SAMPLE.request))


class Unbalanced(FakeEngine):
    """Its stages are not the whole."""

    def stages(self, task: Task) -> Sequence[Stage[FakeWork]]:
        return super().stages(task)[:-1]


@pytest.mark.parametrize(
    ("kind", "check"),
    [
        (Deaf, check_steps),
        (Deaf, check_stops),
        (Hasty, check_stops),
        (Hasty, check_artifacts),
        (Boastful, check_artifacts),
        (Forgetful, check_seed),
        (Forgetful, check_stops),
        (Forgetful, check_overlap),
        (Credulous, check_errors),
        (Unbalanced, check_stages),
    ],
)
def test_a_broken_engine_is_caught(kind: type[FakeEngine], check: Check, tmp_path: Path) -> None:
    engine = load_checked(kind(EngineSettings()))
    with pytest.raises(AssertionError):
        check(engine, SAMPLE, tmp_path)
