"""The door of a text engine, where a test reads what a model is fed.

Nothing behind it knows any words, so what passes here is all that a model is ever told.
"""

from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from msgspec.structs import replace

from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines import Footprint, TextEngine, TokenStream


class Given(NamedTuple):
    """What one text was begun with, as it was given."""

    ids: tuple[int, ...]
    sampling: Sampling
    seed: int


class Door:
    """A `TextEngine` that keeps what it is given, and passes it on to the engine behind.

    With `most_tokens` the engine behind is asked for no longer texts than that, so that a test of
    the defaults need not wait for hundreds of tokens; what is kept is what was asked.
    """

    def __init__(self, behind: TextEngine, *, most_tokens: int | None = None) -> None:
        """Nothing has passed yet."""
        self._behind = behind
        self._most_tokens = most_tokens
        self._given: list[Given] = []
        self._lock = Lock()

    def passed(self) -> list[Given]:
        """What has come since the last call, in order of coming; it is then forgotten."""
        with self._lock:
            given, self._given = self._given, []
        return given

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:
        """Keep it, and begin the text."""
        with self._lock:
            self._given.append(Given(tuple(ids), sampling, seed))
        if self._most_tokens is not None and sampling.max_tokens > self._most_tokens:
            sampling = replace(sampling, max_tokens=self._most_tokens)
        return self._behind.add(ids, sampling, seed)

    def load(self, tell: Callable[[str, float], None]) -> None:
        """As the engine behind."""
        self._behind.load(tell)

    def pause(self) -> None:
        """As the engine behind."""
        self._behind.pause()

    def resume(self) -> None:
        """As the engine behind."""
        self._behind.resume()

    def park(self) -> None:
        """As the engine behind."""
        self._behind.park()

    def wake(self) -> None:
        """As the engine behind."""
        self._behind.wake()

    def footprint(self) -> Footprint:
        """As the engine behind."""
        return self._behind.footprint()

    def close(self) -> None:
        """As the engine behind."""
        self._behind.close()
