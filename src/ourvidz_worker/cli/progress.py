"""Progress on a terminal as bars, elsewhere as plain lines; one bar for each thing waited for."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

TENTHS = 10


class Bar:
    """The progress of one thing, drawn by its `Bars`."""

    def __init__(self, label: str, console: Console, drawn: tuple[Progress, TaskID] | None) -> None:
        """`drawn` is the bar on a terminal, None where plain lines are written."""
        self.label = label
        self._console = console
        self._drawn = drawn
        self._doing = ""
        self._tenth = 0

    def move(self, doing: str, fraction: float | None = None, detail: str = "") -> None:
        """Say what is done now; `fraction` of the whole is 0..1, None leaves it where it is."""
        if self._drawn is None:
            self._line(doing, fraction, detail)
            return
        progress, task = self._drawn
        text = f"{doing}  {detail}" if detail else doing
        progress.update(task, completed=fraction, doing=text)

    def finish(self, text: str, *, well: bool = True) -> None:
        """Say how it ended; a bar that ended well is full."""
        self.move(text, 1.0 if well else None)
        if self._drawn is not None:
            progress, task = self._drawn
            progress.stop_task(task)

    def _line(self, doing: str, fraction: float | None, detail: str) -> None:
        tenth = self._tenth if fraction is None else int(fraction * TENTHS)
        if doing == self._doing and tenth <= self._tenth:
            return
        self._doing, self._tenth = doing, tenth
        share = "" if fraction is None else f"{fraction:.0%}"
        words = (f"{self.label}:", doing, share, detail)
        self._console.out(" ".join(word for word in words if word), highlight=False)


class Bars:
    """Several bars at once; a context in which they live."""

    def __init__(self, console: Console) -> None:
        """Draw on `console` when it is a terminal, else write lines to it."""
        self._console = console
        self._progress = _drawn_on(console) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def add(self, label: str) -> Bar:
        """One more bar; `label` stands at its left."""
        if self._progress is None:
            return Bar(label, self._console, None)
        task = self._progress.add_task(label, total=1.0, doing="")
        return Bar(label, self._console, (self._progress, task))


def _drawn_on(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:>3.0f}%", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[doing]}", markup=False),
        console=console,
    )
