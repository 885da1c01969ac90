"""Reading the texts of a text engine in tests: whole, a first part, or what lies ready."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ourvidz_worker.engines import Token, TokenStream

PATIENCE_READS = 300
"""So many reads of a second may give nothing before a text is given up; a busy machine is slow."""

READY_S = 0.05


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A text from its first token to its end; `cached` is what was told of its prompt."""

    tokens: tuple[Token, ...]
    finish: Literal["stop", "length"] | None = None
    cached: int = 0

    @property
    def ids(self) -> tuple[int, ...]:
        """The tokens' ids."""
        return tuple(token.id for token in self.tokens)


def read_whole(stream: TokenStream, begun: Sequence[Token] = ()) -> Whole:
    """All tokens up to the end, behind those that were read before."""
    tokens, patience = list(begun), PATIENCE_READS
    while patience:
        part = stream.read(1.0)
        tokens += part.tokens
        if part.finish is not None:
            return Whole(tokens=tuple(tokens), finish=part.finish, cached=part.cached)
        patience = PATIENCE_READS if part.tokens else patience - 1
    raise AssertionError(f"the text never ended; it has {len(tokens)} tokens")


def read_some(stream: TokenStream) -> list[Token]:
    """The first tokens that come, at least one."""
    for _ in range(PATIENCE_READS):
        part = stream.read(1.0)
        if part.tokens:
            return list(part.tokens)
    raise AssertionError("the text never began")


def read_ready(stream: TokenStream) -> list[Token]:
    """What comes until a read gives nothing; for a text that is paused, cancelled or over."""
    tokens: list[Token] = []
    while part := stream.read(READY_S).tokens:
        tokens += part
    return tokens
