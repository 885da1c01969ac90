"""A gate that writes down all it is told, and stops the work where a test wants it to."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ourvidz_worker.domain.errors import StopRequested
from ourvidz_worker.domain.text_reply import TokenChoice


class Step(NamedTuple):
    """One call of `step`."""

    stage: str
    step: int
    steps: int


class RecordingGate:
    """A `Gate` for tests. `calls` counts all questions; `stop_at` is the one that is refused.

    Previews are written into `folder`, all of them, when one is given. After `close`, any question
    is a fault of the engine.
    """

    def __init__(
        self, *, stop_at: int = 0, reason: str = "cancelled", folder: Path | None = None
    ) -> None:
        """Refuse question `stop_at`, counted from 1, and every one after it; 0 refuses none."""
        self.calls = 0
        self.steps: list[Step] = []
        self.pieces: list[str] = []
        self.tokens: list[int] = []
        self.choices: list[TokenChoice] = []
        self.previews: list[Path] = []
        self._stop_at = stop_at
        self._reason = reason
        self._folder = folder
        self._closed = False

    @property
    def text_so_far(self) -> str:
        """All text handed out."""
        return "".join(self.pieces)

    def close(self) -> None:
        """Nothing may be asked from here on."""
        self._closed = True

    def ask(self) -> None:
        """Count the question; raise `StopRequested` where it is refused."""
        assert not self._closed, "the gate was asked after the last stage"
        self.calls += 1
        if 0 < self._stop_at <= self.calls:
            raise StopRequested(self._reason)

    def step(self, stage: str, step: int, steps: int) -> None:
        """Write down the step, then ask."""
        self.steps.append(Step(stage, step, steps))
        self.ask()

    def preview(self, make: Callable[[Path], None], step: int) -> None:
        """Ask, then have the picture made."""
        self.ask()
        if self._folder is not None:
            path = self._folder / f"preview-{len(self.previews)}.webp"
            make(path)
            self.previews.append(path)

    def text(self, piece: str, tokens: int, choices: tuple[TokenChoice, ...] = ()) -> None:
        """Ask, then write down the text."""
        self.ask()
        self.pieces.append(piece)
        self.tokens.append(tokens)
        self.choices.extend(choices)
