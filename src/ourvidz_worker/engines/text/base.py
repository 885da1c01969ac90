"""The text engine: token ids and sampling in, token ids out, many texts at once.

It knows no words: rendering, stop strings and decoding lie before and behind its door
(`engines.chat`), so that what a model is fed can be read there and is the caller's alone.
"""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from ourvidz_worker.domain.request import Sampling


class Token(msgspec.Struct, frozen=True):
    """One token drawn; where asked for, its chance and the likeliest `(id, chance)` pairs.

    A chance is the natural logarithm of the model's own, before temperature and penalties.
    """

    id: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """The tokens since the last read, in order; `finish` is set once, with the last of them.

    A token that ends a text is no part of it: it is told as `stop` alone. `cached` tells how many
    tokens of the prompt were found computed.
    """

    tokens: tuple[Token, ...] = ()
    finish: Literal["stop", "length"] | None = None
    cached: int = 0


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """What an engine holds, in bytes: of the device while it is resident, of the host always."""

    weights_bytes: int
    cache_bytes: int
    host_bytes: int = 0
    resident: bool = True


class TokenStream(Protocol):
    """One text on its way. `read` from one thread, `cancel` from any."""

    def read(self, timeout_s: float) -> Tokens:
        """All that came since the last read; waits until something does, at most `timeout_s`.

        Raises the `AttemptError` that ended the text, at each read after it.
        """
        ...

    def cancel(self) -> None:
        """End the text before its next token and free what it holds; one that ended is no error."""
        ...


class TextEngine(Protocol):
    """The port every text engine implements; its contract suite is `testing.check_text_engine`.

    Every method may be called from any thread; only `load`, `park` and `wake` take long.
    """

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Load and warm up, `park` and `wake` included. Raises `ModelLoadFailed`, `OutOfMemory`."""
        ...

    def add(self, ids: Sequence[int], sampling: Sampling, seed: int) -> TokenStream:
        """Begin a text behind `ids` (at least one); it joins those that run.

        `ids` and `sampling.max_tokens` together fit into the model's context. `seed` alone, not
        what runs beside, decides what is drawn, as far as the arithmetic allows. Stop strings
        are not looked at here.
        """
        ...

    def pause(self) -> None:
        """Compute nothing more until `resume`; texts keep what they have."""
        ...

    def resume(self) -> None:
        """Go on after a pause."""
        ...

    def park(self) -> None:
        """Leave the device, once no text runs; what was computed ahead is forgotten."""
        ...

    def wake(self) -> None:
        """Come back to the device, with the same weights. Raises `OutOfMemory`."""
        ...

    def footprint(self) -> Footprint:
        """What is held now; cheap."""
        ...

    def close(self) -> None:
        """End every text and release everything."""
        ...
