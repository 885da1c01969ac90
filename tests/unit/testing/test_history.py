"""The history checker finds each broken promise, and nothing in a history that keeps them."""

from pathlib import Path

import pytest

from ourvidz_worker.testing.history import Kind, Seen, Witness, judge, read_history

KEY = "u/a/0.png"

PUSHED = Seen(at=0.0, kind=Kind.PUSHED, job="a")
BEGUN = Seen(at=1.0, kind=Kind.TOLD, job="a", status="processing", digest="p")
STORED = Seen(at=2.0, kind=Kind.STORED, job="a", key=KEY)
ENDED = Seen(at=3.0, kind=Kind.TOLD, job="a", status="completed", digest="c", assets=(KEY,))


def told(at: float, status: str, digest: str) -> Seen:
    """One more callback about the job."""
    return Seen(at=at, kind=Kind.TOLD, job="a", status=status, digest=digest, assets=(KEY,))


def test_a_history_that_keeps_every_promise() -> None:
    verdict = judge([ENDED, STORED, BEGUN, PUSHED])
    assert verdict.holds
    assert (verdict.jobs, verdict.kills, verdict.recovery_s) == (1, 0, 0.0)


@pytest.mark.parametrize(
    ("history", "broken"),
    [
        ([PUSHED], "lost"),
        ([PUSHED, BEGUN], "lost"),
        ([PUSHED, BEGUN, STORED, ENDED, told(4, "failed", "f")], "doubled"),
        ([PUSHED, BEGUN, STORED, ENDED, told(4, "completed", "other")], "doubled"),
        ([PUSHED, STORED, ENDED, told(4, "processing", "p")], "out_of_order"),
        ([PUSHED, BEGUN, ENDED], "unbacked"),
        ([PUSHED, BEGUN, ENDED, Seen(at=5.0, kind=Kind.STORED, job="a", key=KEY)], "unbacked"),
    ],
)
def test_each_broken_promise_is_named(history: list[Seen], broken: str) -> None:
    verdict = judge(history)
    assert not verdict.holds
    names = ("lost", "doubled", "out_of_order", "unbacked")
    assert [name for name in names if getattr(verdict, name)] == [broken]
    assert getattr(verdict, broken) == ("a",)


def test_the_same_end_again_is_told_twice_and_no_more() -> None:
    verdict = judge([PUSHED, BEGUN, STORED, ENDED, told(4, "completed", "c")])
    assert verdict.holds
    assert verdict.told_twice == ("a",)


def test_a_failed_job_needs_no_asset() -> None:
    assert judge([PUSHED, BEGUN, told(2, "failed", "f")]).holds


def test_recovery_counts_from_the_last_kill_that_found_the_job_begun() -> None:
    kills = [Seen(at=at, kind=Kind.FAULT, key="pod") for at in (0.5, 1.5, 2.5, 9.0)]
    verdict = judge([PUSHED, BEGUN, STORED, ENDED, *kills])
    assert verdict.recovery_s == pytest.approx(0.5)
    assert verdict.kills == 4


def test_witnesses_share_a_file_and_a_torn_line_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "history"
    for seen in (ENDED, PUSHED):
        Witness(file).note(seen)
    with file.open("ab") as stream:
        stream.write(b'{"at":9')
    assert read_history(file) == [PUSHED, ENDED]
    assert read_history(tmp_path / "none") == []
