"""A text engine that says what a test wants, in the parts that it wants."""

from collections.abc import Callable, Sequence

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines import Footprint, TextSettings, Token, Tokens

Script = list[Tokens | AttemptError]
"""What the reads of a text give, one after another."""


class ScriptedStream:
    """Reads a script; an empty one gives nothing, for ever."""

    def __init__(self, script: Script) -> None:
        self.is_cancelled = False
        self._script = list(script)

    def read(self, timeout_s: float) -> Tokens:
        del timeout_s
        part = self._script.pop(0) if self._script else Tokens()
        if isinstance(part, AttemptError):
            raise part
        return part

    def cancel(self) -> None:
        self.is_cancelled = True


class ScriptedText:
    """A `TextEngine` whose texts follow `script`; `moves` tells how it was parked and woken."""

    def __init__(self, settings: TextSettings, script: Script | None = None) -> None:
        self.settings = settings
        self.script = script or []
        self.added: list[tuple[tuple[int, ...], Sampling, int]] = []
        self.streams: list[ScriptedStream] = []
        self.moves: list[str] = []
        self.failures: list[AttemptError] = []
        """What the next wakes raise."""

    def load(self, tell: Callable[[str, float], None]) -> None:
        tell("script", 0.5)

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> ScriptedStream:
        self.added.append((tuple(ids), sampling, seed))
        self.streams.append(ScriptedStream(self.script))
        return self.streams[-1]

    def pause(self) -> None:
        self.moves.append("pause")

    def resume(self) -> None:
        self.moves.append("resume")

    def park(self) -> None:
        self.moves.append("park")

    def wake(self) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.moves.append("wake")

    def footprint(self) -> Footprint:
        parked = [move for move in self.moves if move in ("park", "wake")][-1:] == ["park"]
        return Footprint(weights_bytes=1000, cache_bytes=24, resident=not parked)

    def close(self) -> None:
        self.moves.append("close")


def said(*ids: int, finish: str | None = None) -> Tokens:
    """A part without chances."""
    return Tokens(tokens=tuple(Token(id=each) for each in ids), finish=finish)  # type: ignore[arg-type]
