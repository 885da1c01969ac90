"""One text of the portable engine, from its prompt to its last token."""

from collections.abc import Sequence

from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.chat_sampling import Sampler
from ourvidz_worker.engines.text.base import Token, Tokens
from ourvidz_worker.engines.text.packed import Span
from ourvidz_worker.engines.text.past import Past
from ourvidz_worker.engines.text.prefixes import Beginning
from ourvidz_worker.engines.text.stream import BufferedStream

ROOM_AHEAD = 64
"""Room taken for what is to come; a longer text grows into more."""


class Writing:
    """A text that is read (its prompt) and then written, token by token.

    `past` is None until it begins. All but the engine's own thread leave it alone.
    """

    def __init__(
        self, ids: Sequence[int], sampling: Sampling, seed: int, stream: BufferedStream
    ) -> None:
        """`ids` are the prompt."""
        self.prompt = Beginning(ids)
        self.ids = list(ids)
        self.sampling = sampling
        self.seed = seed
        self.stream = stream
        self.sampler: Sampler | None = None
        self.past: Past | None = None
        self.cached = 0
        self.twin: Writing | None = None
        """An earlier text that reads what this one begins with too."""

    @property
    def left(self) -> int:
        """How many known tokens are not computed yet; 1 while it is written."""
        return len(self.ids) - (self.past.length if self.past else 0)

    @property
    def is_written(self) -> bool:
        """True once a token can be drawn in every step."""
        return self.past is not None and self.left == 1

    @property
    def most(self) -> int:
        """How many tokens it may have in the end."""
        return len(self.prompt) + self.sampling.max_tokens

    @property
    def room(self) -> int:
        """How many tokens it should have room for when it begins."""
        return len(self.ids) + min(self.sampling.max_tokens, ROOM_AHEAD)

    def span(self, count: int) -> Span:
        """Its next `count` tokens to compute."""
        if self.past is None:
            raise ValueError("the text has not begun")
        start = self.past.length
        return Span(ids=self.ids[start : start + count], past=self.past)

    def move_on(self, count: int) -> None:
        """Its next `count` tokens are computed."""
        if self.past:
            self.past.length += count

    def known(self, length: int) -> Beginning:
        """Its first `length` tokens, prompt and text."""
        return Beginning(self.ids[:length])

    def put(self, token: Token) -> bool:
        """Write a token down and tell it; True when it was the last that was asked for."""
        self.ids.append(token.id)
        if self.sampler:
            self.sampler.note(token.id)
        is_last = len(self.ids) - len(self.prompt) == self.sampling.max_tokens
        self.stream.put(
            Tokens(tokens=(token,), finish="length" if is_last else None, cached=self.cached)
        )
        return is_last

    def end(self) -> None:
        """Tell that the model ended it."""
        self.stream.put(Tokens(finish="stop", cached=self.cached))
