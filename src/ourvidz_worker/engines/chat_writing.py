"""A text as it is written: ids of a text engine become what may be shown; the gate is asked."""

from collections.abc import Sequence
from dataclasses import dataclass

from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.domain.text_reply import TokenChance, TokenChoice
from ourvidz_worker.engines import Gate
from ourvidz_worker.engines.chat_text import TextStream
from ourvidz_worker.engines.chat_words import ChatWords
from ourvidz_worker.engines.text import TextEngine, Token, Tokens

STAGE = "generate"

ASK_EVERY_S = 0.1
"""While nothing comes, the gate is asked so often."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """A whole text; `leading` is the white space trimmed before it, `tokens` how many were drawn.

    `cached` counts the tokens of the prompt that were found computed.
    """

    text: str
    leading: str
    tokens: int
    finish_reason: str
    cached: int


def write(
    ids: Sequence[int],
    sampling: Sampling,
    seed: int,
    *,
    words: ChatWords,
    engine: TextEngine,
    gate: Gate,
    is_raw: bool = False,
) -> Written:
    """Let the engine write behind `ids`, and hand the text to the gate as it comes.

    Ends at a stop string, at an end of the model's, or at the tokens asked for. When the gate
    refuses, the text is cancelled. A raw continuation is handed out with its leading white space.
    """
    gate.ask()
    stream = engine.add(ids, sampling, seed)
    try:
        writer = _Writer(words, sampling, gate, is_raw=is_raw)
        while not writer.is_done:
            writer.take(stream.read(ASK_EVERY_S))
        return writer.written()
    finally:
        stream.cancel()


class _Writer:
    """Takes what was read of one text."""

    def __init__(self, words: ChatWords, sampling: Sampling, gate: Gate, *, is_raw: bool) -> None:
        self._words = words
        self._sampling = sampling
        self._gate = gate
        self._text = TextStream(words.decode, sampling.stop, is_raw=is_raw)
        self._count = 0
        self._cached = 0
        self._has_begun = False
        self._finish: str | None = None

    @property
    def is_done(self) -> bool:
        return self._finish is not None

    def take(self, read: Tokens) -> None:
        if not read.tokens and read.finish is None:
            self._gate.ask()
            return
        self._cached = max(self._cached, read.cached)
        self._begin()
        piece, choices = self._add(read.tokens)
        self._finish = "stop" if self._text.stopped else read.finish
        if self.is_done:
            piece += self._text.end()
        if piece or choices:
            self._gate.text(piece, self._count, choices)
        if read.tokens:
            self._gate.step(STAGE, self._count, self._sampling.max_tokens)

    def written(self) -> Written:
        return Written(
            text=self._text.text,
            leading=self._text.leading,
            tokens=self._count,
            finish_reason=self._finish or "",
            cached=self._cached,
        )

    def _begin(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._gate.step(STAGE, 0, self._sampling.max_tokens)

    def _add(self, tokens: Sequence[Token]) -> tuple[str, tuple[TokenChoice, ...]]:
        """The new text that may be shown, and the choices; nothing behind a stop string counts."""
        pieces, choices = [], []
        for token in tokens:
            self._count += 1
            pieces.append(self._text.add(token.id))
            if token.logprob is not None:
                choices.append(choice_of(token, token.logprob, self._words))
            if self._text.stopped:
                break
        return "".join(pieces), tuple(choices)


def choice_of(token: Token, logprob: float, words: ChatWords) -> TokenChoice:
    """A drawn token and the likeliest beside it, in words."""
    own = _chance(token.id, logprob, words)
    return TokenChoice(
        token=own.token,
        logprob=own.logprob,
        bytes=own.bytes,
        top=tuple(_chance(other, chance, words) for other, chance in token.top),
    )


def _chance(token: int, logprob: float, words: ChatWords) -> TokenChance:
    data = words.bytes_of(token)
    text = data.decode("utf-8", errors="replace")
    return TokenChance(token=text, logprob=logprob, bytes=tuple(data))
