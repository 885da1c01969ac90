"""Bars on a terminal, lines elsewhere; a job's events on either; tables likewise."""

from io import StringIO

import pytest
from rich.console import Console

from ourvidz_worker.cli.progress import Bars
from ourvidz_worker.cli.tables import Table, show, size_text
from ourvidz_worker.cli.watching import JobWatch
from ourvidz_worker.client import ConnectionFailed, JobEvent


def console(*, terminal: bool) -> Console:
    return Console(file=StringIO(), force_terminal=terminal, width=120, color_system=None)


def written(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def told(*events: tuple[str, dict[str, object]], terminal: bool = False) -> str:
    drawn = console(terminal=terminal)
    with Bars(drawn) as bars:
        watch = JobWatch(bars.add("apples"))
        for seq, (kind, data) in enumerate(events, start=1):
            watch.tell(JobEvent(job_id="apples", seq=seq, kind=kind, data=data))
    return written(drawn)


def step(number: int, steps: int = 20, eta_s: float | None = None) -> tuple[str, dict[str, object]]:
    data = {"stage": "denoise", "step": number, "steps": steps, "fraction": number / steps}
    return "progress", {**data, "eta_s": eta_s}


def test_without_a_terminal_each_change_and_each_tenth_is_a_line() -> None:
    steps = [step(number) for number in range(1, 6)]
    lines = told(("accepted", {}), ("started", {}), *steps, ("completed", {})).splitlines()
    assert lines == [
        "apples: queued 0%",
        "apples: started 0%",
        "apples: denoise 5% 1/20",
        "apples: denoise 10% 2/20",
        "apples: denoise 20% 4/20",
        "apples: completed 100%",
    ]


def test_the_time_left_and_another_try_are_shown() -> None:
    lines = told(
        ("retried", {"code": "OOM_ERROR"}), ("started", {"attempt": 2}), step(1, eta_s=4.4)
    )
    assert lines.splitlines() == [
        "apples: queued again 0% OOM_ERROR",
        "apples: started 0% try 2",
        "apples: denoise 5% 1/20, 4 s left, try 2",
    ]


@pytest.mark.parametrize(
    ("kind", "text"), [("failed", "failed: No."), ("cancelled", "cancelled"), ("strange", "")]
)
def test_other_ends_are_told(kind: str, text: str) -> None:
    assert told((kind, {"message": "No."})) == (f"apples: {text}\n" if text else "")


def test_on_a_terminal_there_is_a_bar() -> None:
    shown = told(("accepted", {}), step(10, eta_s=1.0), ("completed", {}), terminal=True)
    last = next(line for line in reversed(shown.splitlines()) if "apples" in line)
    assert "100%" in last
    assert "completed" in last


def test_a_label_is_no_markup() -> None:
    drawn = console(terminal=True)
    with Bars(drawn) as bars:
        bars.add("[bold]x").move("[/bold]")
    assert "[bold]x" in written(drawn)


def test_a_job_that_cannot_be_followed_says_so() -> None:
    drawn = console(terminal=False)
    watch = JobWatch(Bars(drawn).add("apples"))
    watch.broke(ConnectionFailed("Gone."))
    assert written(drawn) == "apples: Gone.\n"


def test_a_table_is_drawn_on_a_terminal_and_tabbed_elsewhere() -> None:
    table = Table(("one", "two"), [("a[b]", "c")])
    drawn, plain = console(terminal=True), console(terminal=False)
    show(table, drawn)
    show(table, plain)
    assert written(drawn).split() == ["one", "two", "a[b]", "c"]
    assert written(plain) == "a[b]\tc\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 B"), (999, "999 B"), (27_154, "27.2 kB"), (98e6, "98.0 MB"), (4e9, "4.0 GB")],
)
def test_sizes_are_read_at_a_glance(size: float, text: str) -> None:
    assert size_text(int(size)) == text
