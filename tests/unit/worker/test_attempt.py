"""One attempt: a Run command in, exactly one outcome out, on every path."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.unit.worker.worker_parts import (
    CLIP,
    PICTURE,
    TALK,
    ScriptedEngine,
    fake_engine,
    make_run,
)

from ourvidz_worker.domain.errors import BadReference, OurvidzError, OutOfMemory, StopRequested
from ourvidz_worker.domain.messages import Computed, Failed, Finished, Outcome, Run, Stopped
from ourvidz_worker.domain.request import Request
from ourvidz_worker.engines import Engine, Gate, Product
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.worker.attempt import Ports, advance, run_attempt
from ourvidz_worker.worker.gate import AttemptGate


class Trial:
    """One run of an engine, with its gate and clock."""

    def __init__(self, engine: Engine[Any], run: Run) -> None:
        self.clock = FakeClock()
        self.gate = AttemptGate(run, self.clock, lambda report: None)
        ports = Ports(engine=engine, gate=self.gate, clock=self.clock, peak_rss=lambda: 1)
        self.attempt = run_attempt(run, ports)

    def to_end(self) -> Outcome:
        """The outcome, whether or not the attempt got as far as freeing the device."""
        result = advance(self.attempt)
        if isinstance(result, Computed):
            result = advance(self.attempt)
        assert not isinstance(result, Computed)
        return result


def raising(error: BaseException) -> Callable[..., None]:
    def fail(*_: object) -> None:
        raise error

    return fail


@pytest.mark.parametrize("request_", [PICTURE, CLIP, TALK], ids=["picture", "clip", "talk"])
def test_a_good_attempt_frees_the_device_and_then_finishes(
    request_: Request, tmp_path: Path
) -> None:
    run = make_run(tmp_path, request=request_)
    trial = Trial(fake_engine(), run)
    assert advance(trial.attempt) == Computed(attempt_id="a1")
    assert list(Path(run.spool).glob("[0-9]*")) == []
    outcome = advance(trial.attempt)
    assert isinstance(outcome, Finished)
    assert outcome.artifacts
    assert [time.stage for time in outcome.receipt.stages][-1] == "encode"
    files = {file.name for file in outcome.receipt.files if not file.name.endswith(".txt")}
    assert files == {path.name for path in Path(run.spool).glob("[0-9]*")}


def test_the_task_has_the_seed_and_the_references_of_the_spool(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    run = make_run(tmp_path)
    named = Run(
        attempt_id=run.attempt_id,
        job_id=run.job_id,
        request=run.request,
        seed=0,
        spool=run.spool,
        deadline_s=1.0,
        references={"first": "first.png", "last": str(tmp_path / "last.png")},
    )
    assert isinstance(Trial(engine, named).to_end(), Finished)
    (task,) = engine.tasks
    assert (task.seed, task.spool) == (0, Path(run.spool))
    assert task.references == {
        "first": Path(run.spool) / "first.png",
        "last": tmp_path / "last.png",
    }


@pytest.mark.parametrize(
    ("part", "stage"), [("begin", "validate"), ("stage", "generate"), ("finish", "encode")]
)
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OutOfMemory(), "OOM_ERROR"),
        (RuntimeError("foreign"), "INTERNAL_ERROR"),
        (MemoryError(), "INTERNAL_ERROR"),
        (StopRequested("deadline"), "TIMEOUT_ERROR"),
    ],
)
def test_every_error_in_every_part_is_one_failure(
    part: str, stage: str, error: BaseException, code: str, tmp_path: Path
) -> None:
    parts: dict[str, Callable[..., None]] = {part: raising(error)}
    outcome = Trial(ScriptedEngine(**parts), make_run(tmp_path)).to_end()  # type: ignore[arg-type]
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.stage) == (code, stage)
    assert "foreign" not in outcome.sentence


@pytest.mark.parametrize("part", ["begin", "stage", "finish"])
def test_a_stop_in_every_part_is_one_stop(part: str, tmp_path: Path) -> None:
    parts: dict[str, Callable[..., None]] = {part: raising(StopRequested("cancelled"))}
    outcome = Trial(ScriptedEngine(**parts), make_run(tmp_path)).to_end()  # type: ignore[arg-type]
    assert outcome == Stopped(attempt_id="a1", reason="cancelled")


def test_what_breaks_is_logged_with_its_trace_and_what_fails_with_its_facts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        Trial(ScriptedEngine(begin=raising(ValueError("odd"))), make_run(tmp_path, "a1")).to_end()
        Trial(
            ScriptedEngine(begin=raising(OurvidzError(size=3))), make_run(tmp_path, "a2")
        ).to_end()
    broke, broke_as_failure, failed = caplog.records
    assert broke.exc_info is not None
    assert vars(broke)["attempt_id"] == "a1"
    assert vars(broke_as_failure)["code"] == "INTERNAL_ERROR"
    assert vars(failed)["facts"] == {"size": 3}


def test_an_attempt_stopped_while_it_waited_never_begins(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    trial = Trial(engine, make_run(tmp_path))
    trial.gate.stop("cancelled")
    assert trial.to_end() == Stopped(attempt_id="a1", reason="cancelled")
    assert engine.tasks == []


@pytest.mark.parametrize("when", ["before", "during"])
def test_a_stop_while_files_are_written_ends_as_stopped(when: str, tmp_path: Path) -> None:
    def write(spool: Path) -> None:
        (spool / "0.png").write_bytes(b"half")
        if when == "during":
            trial.gate.stop("cancelled")

    trial = Trial(ScriptedEngine(finish=write), make_run(tmp_path))
    assert isinstance(advance(trial.attempt), Computed)
    if when == "before":
        trial.gate.stop("cancelled")
    assert advance(trial.attempt) == Stopped(attempt_id="a1", reason="cancelled")


def test_a_deadline_is_seen_at_the_next_question_and_not_after_the_last(tmp_path: Path) -> None:
    def late(gate: Gate) -> None:
        trial.clock.jump(61.0)
        gate.step("only", 1, 1)

    trial = Trial(ScriptedEngine(stage=late), make_run(tmp_path))
    outcome = trial.to_end()
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable) == ("TIMEOUT_ERROR", True)
    slow = Trial(
        ScriptedEngine(finish=lambda spool: slow.clock.jump(61.0)), make_run(tmp_path, "a2")
    )
    assert isinstance(slow.to_end(), Finished)


def test_a_bad_reference_keeps_its_reason(tmp_path: Path) -> None:
    error = BadReference(reason="REFERENCE_NOT_AN_IMAGE", field="config.image")
    outcome = Trial(ScriptedEngine(begin=raising(error)), make_run(tmp_path)).to_end()
    assert isinstance(outcome, Failed)
    assert (outcome.stage, outcome.reason, outcome.field) == (
        "reference",
        "REFERENCE_NOT_AN_IMAGE",
        "config.image",
    )


def test_a_product_that_cannot_be_told_is_a_failure(tmp_path: Path) -> None:
    wrong: Any = {"steps": object()}
    product = Product(artifacts=(), effective=wrong)
    outcome = Trial(ScriptedEngine(product=product), make_run(tmp_path)).to_end()
    assert isinstance(outcome, Failed)
    assert outcome.code == "INTERNAL_ERROR"


@pytest.mark.parametrize("call", range(1, 8))
def test_the_fake_engine_stops_at_every_question(call: int, tmp_path: Path) -> None:
    class StopsAt(AttemptGate):
        asked = 0

        def ask(self) -> None:
            self.asked += 1
            if self.asked == call:
                self.stop("cancelled")
            super().ask()

    run, clock = make_run(tmp_path), FakeClock()
    gate = StopsAt(run, clock, lambda report: None)
    ports = Ports(engine=fake_engine(), gate=gate, clock=clock, peak_rss=lambda: 1)
    assert advance(run_attempt(run, ports)) == Stopped(attempt_id="a1", reason="cancelled")
