"""Tables for people on a terminal; the same rows as tab-separated lines anywhere else."""

from collections.abc import Sequence
from dataclasses import dataclass

import rich.table
from rich.console import Console
from rich.text import Text

from ourvidz_worker.client import DeadCallback, DeadLetter, JobView, SavedFile
from ourvidz_worker.domain.receipt import Receipt

KILOBYTE = 1000


@dataclass(frozen=True)
class Table:
    """Column titles and rows of text."""

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]


def show(table: Table, console: Console) -> None:
    """Draw the table on a terminal; write one line a row, without titles, anywhere else."""
    if not console.is_terminal:
        for row in table.rows:
            console.file.write("\t".join(row) + "\n")
        return
    drawn = rich.table.Table(box=None, pad_edge=False)
    for title in table.titles:
        drawn.add_column(title, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    console.print(drawn)


def files_table(view: JobView, saved: Sequence[SavedFile]) -> Table:
    """Where a job's files are, and how large in pixels and bytes."""
    assets = {asset.index: asset for asset in view.assets}
    rows = []
    for file in saved:
        facts = assets[file.index].metadata if file.part == "main" else {}
        shape = f"{facts['width']}x{facts['height']}" if "width" in facts else ""
        frames = f"{facts['frame_num']} frames" if "frame_num" in facts else ""
        rows.append(
            (str(file.path), file.part, f"{shape} {frames}".strip(), size_text(file.size_bytes))
        )
    return Table(("file", "part", "shape", "size"), rows)


def stages_table(receipt: Receipt) -> Table:
    """How long each stage of the job took."""
    rows = [(stage.stage, f"{stage.seconds:.2f} s") for stage in receipt.stages]
    return Table(("stage", "time"), rows)


def differences_table(receipt: Receipt) -> Table:
    """What was executed otherwise than asked, and why."""
    rows = [
        (row.parameter, row.requested, row.effective, row.reason) for row in receipt.differences
    ]
    return Table(("parameter", "asked", "made", "why"), rows)


def jobs_table(views: Sequence[JobView]) -> Table:
    """Jobs, one a row."""
    rows = [
        (
            view.job_id,
            view.type,
            view.status,
            view.user_id,
            view.created_at or "",
            str(len(view.assets)) if view.assets else "",
            view.error.code if view.error else "",
        )
        for view in views
    ]
    return Table(("job", "type", "status", "user", "created", "results", "error"), rows)


def letters_table(letters: Sequence[DeadLetter]) -> Table:
    """Dead letters, one a row."""
    rows = [
        (
            letter.id,
            letter.job_id or "",
            letter.code,
            str(letter.attempts),
            letter.at,
            size_text(letter.size_bytes),
            letter.reason,
        )
        for letter in letters
    ]
    return Table(("letter", "job", "code", "tries", "at", "size", "reason"), rows)


def callbacks_table(callbacks: Sequence[DeadCallback]) -> Table:
    """Dead callbacks, one a row."""
    rows = [
        (
            str(callback.id),
            callback.job_id,
            callback.status,
            str(callback.attempts),
            callback.created_at,
            callback.at,
            callback.reason,
        )
        for callback in callbacks
    ]
    return Table(("callback", "job", "status", "tries", "created", "given up", "reason"), rows)


def size_text(size: int) -> str:
    """A number of bytes in a unit a person reads."""
    value = float(size)
    for unit in ("B", "kB", "MB"):
        if value < KILOBYTE:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= KILOBYTE
    return f"{value:.1f} GB"
