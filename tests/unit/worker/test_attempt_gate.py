"""The gate: it reports seldom, asks always, and says nothing after a stop."""

import logging
from pathlib import Path

import msgspec
import pytest
from tests.unit.worker.worker_parts import make_run, only

from ourvidz_worker.domain.errors import StopRequested, ThumbnailFailed
from ourvidz_worker.domain.messages import Preview, Progress, Report, TextPiece
from ourvidz_worker.domain.text_reply import TokenChoice
from ourvidz_worker.engines import Stage
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.worker.gate import AttemptGate


class Opened:
    """An open gate in its one stage, with the clock and what it has sent."""

    def __init__(self, folder: Path, *, deadline_s: float = 1e9, quiet: bool = False) -> None:
        self.clock = FakeClock()
        self.sent: list[Report] = []
        run = make_run(folder, deadline_s=deadline_s)
        self.run = msgspec.structs.replace(run, quiet=quiet)
        self.gate = AttemptGate(self.run, self.clock, self.sent.append)
        self.gate.open()
        self.gate.enter(Stage(name="denoise", components=(), run=lambda work, _: work, share=1.0))

    def progress(self) -> list[int]:
        return [report.step for report in only(self.sent, Progress)]


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened(tmp_path)


def test_progress_is_told_ten_times_a_second_and_at_each_end(opened: Opened) -> None:
    for step in range(1, 101):
        opened.clock.jump(0.01)
        opened.gate.step("denoise", step, 100)
    told = opened.progress()
    assert told[0] == 1
    assert told[-1] == 100
    assert 10 <= len(told) <= 12
    assert opened.gate.steps_done == 100


def test_progress_says_how_far_and_how_long(opened: Opened) -> None:
    opened.clock.jump(2.0)
    opened.gate.step("denoise", 1, 4)
    (told,) = only(opened.sent, Progress)
    assert told == Progress(
        attempt_id="a1", stage="denoise", step=1, steps=4, fraction=0.25, eta_s=6.0
    )


def test_of_a_quiet_attempt_no_progress_is_told_and_it_still_stops(tmp_path: Path) -> None:
    quiet = Opened(tmp_path, quiet=True)
    quiet.gate.step("generate", 1, 2)
    quiet.gate.text("a word", 1)
    assert [type(each).__name__ for each in quiet.sent] == ["TextPiece"]
    assert quiet.gate.steps_done == 1
    quiet.gate.stop("cancelled")
    with pytest.raises(StopRequested):
        quiet.gate.step("generate", 2, 2)


def test_each_stage_tells_its_first_and_last_step(opened: Opened) -> None:
    opened.gate.step("denoise", 1, 2)
    opened.gate.step("denoise", 2, 2)
    opened.gate.enter(Stage(name="decode", components=(), run=lambda work, _: work, share=0.0))
    opened.gate.step("decode", 1, 3)
    opened.gate.step("decode", 2, 3)
    opened.gate.step("decode", 3, 3)
    assert opened.progress() == [1, 2, 1, 3]


def test_previews_are_made_twice_a_second_and_replace_each_other(opened: Opened) -> None:
    made: list[int] = []
    for step in range(1, 21):
        opened.clock.jump(0.1)

        def make(path: Path, step: int = step) -> None:
            made.append(step)
            path.write_text(f"picture {step}")

        opened.gate.preview(make, step)
    assert made == [1, 6, 11, 16]
    told = only(opened.sent, Preview)
    assert [report.step for report in told] == made
    spool = Path(opened.run.spool)
    assert [path.name for path in spool.iterdir()] == [told[-1].file]
    assert (spool / told[-1].file).read_text() == "picture 16"


@pytest.mark.parametrize("error", [OSError("disk full"), ThumbnailFailed()])
def test_a_preview_that_fails_harms_nothing(
    error: Exception, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    def make(path: Path) -> None:
        raise error

    with caplog.at_level(logging.WARNING):
        opened.gate.preview(make, 1)
    assert opened.sent == []
    assert [record.msg for record in caplog.records] == ["preview failed"]


def test_text_is_passed_on_piece_by_piece(opened: Opened) -> None:
    opened.gate.text("a", 1)
    opened.gate.text("", 2)
    opened.gate.text(" b", 3)
    choice = TokenChoice(token=" b", logprob=-0.5)
    opened.gate.text("", 4, (choice,))
    assert opened.sent == [
        TextPiece(attempt_id="a1", text="a", tokens=1),
        TextPiece(attempt_id="a1", text=" b", tokens=3),
        TextPiece(attempt_id="a1", text="", tokens=4, choices=(choice,)),
    ]


def test_a_stopped_attempt_says_nothing_more(opened: Opened) -> None:
    opened.gate.stop("cancelled")
    opened.gate.stop("draining")
    for ask in (
        opened.gate.ask,
        opened.gate.leave,
        lambda: opened.gate.step("denoise", 1, 1),
        lambda: opened.gate.text("a", 1),
        lambda: opened.gate.preview(lambda path: None, 1),
    ):
        with pytest.raises(StopRequested) as stop:
            ask()
        assert stop.value.reason == "cancelled"
    assert opened.sent == []


def test_the_deadline_counts_time_in_work_alone(tmp_path: Path) -> None:
    clock = FakeClock()
    gate = AttemptGate(make_run(tmp_path, deadline_s=5.0), clock, lambda report: None)
    clock.jump(100.0)
    gate.ask()
    gate.open()
    clock.jump(5.0)
    gate.step("denoise", 1, 2)
    clock.jump(0.1)
    gate.leave()
    with pytest.raises(StopRequested) as stop:
        gate.ask()
    assert stop.value.reason == "deadline"
    assert gate.reason == "deadline"
