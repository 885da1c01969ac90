"""One text on its way out of an engine: written by the thread that computes, read by another."""

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.engines.text.base import Tokens


def joined(parts: Sequence[Tokens]) -> Tokens:
    """Several parts of one text, in order, as one."""
    return Tokens(
        tokens=tuple(token for part in parts for token in part.tokens),
        finish=parts[-1].finish if parts else None,
        cached=max((part.cached for part in parts), default=0),
    )


class BufferedStream:
    """The `TokenStream` of one text.

    A queue in C, because 7,500 tokens a second pass through the process that reads them all.
    """

    __slots__ = ("_cached", "_cancel", "_ended", "_error", "_inbox")

    def __init__(self, cancel: Callable[["BufferedStream"], None]) -> None:
        """`cancel` ends the text in the engine; it may be called twice, and after the end."""
        self._cancel = cancel
        self._inbox: SimpleQueue[Tokens | OurvidzError | None] = SimpleQueue()
        self._error: OurvidzError | None = None
        self._ended = False
        self._cached = 0

    # ---- the reader's side ---------------------------------------------------------------

    def read(self, timeout_s: float) -> Tokens:
        """All since the last read; see `TokenStream.read`."""
        self._raise_error()
        if self._ended:
            return Tokens(cached=self._cached)
        told = joined(self._arrived(timeout_s))
        self._cached = max(self._cached, told.cached)
        if not told.tokens:
            self._raise_error()
        return Tokens(tokens=told.tokens, finish=told.finish, cached=self._cached)

    def cancel(self) -> None:
        """End the text; see `TokenStream.cancel`."""
        self._cancel(self)

    # ---- the engine's side ---------------------------------------------------------------

    def put(self, part: Tokens) -> None:
        """Hand out what a step brought."""
        self._inbox.put(part)

    def close(self, error: OurvidzError | None = None) -> None:
        """Nothing more comes: because of `error`, or because the text was cancelled."""
        self._inbox.put(error)

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _arrived(self, timeout_s: float) -> list[Tokens]:
        """Every part that lies ready, after waiting for a first one; notes an end among them."""
        parts: list[Tokens] = []
        try:
            part = self._inbox.get(timeout=timeout_s)
            while isinstance(part, Tokens):
                parts.append(part)
                self._ended = part.finish is not None
                if self._ended:
                    return parts
                part = self._inbox.get_nowait()
        except Empty:
            return parts
        self._ended, self._error = True, part
        return parts
