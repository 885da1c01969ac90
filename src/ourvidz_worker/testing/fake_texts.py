"""A text desk in memory, which says what a test has told it to."""

import asyncio
from collections.abc import AsyncIterator

from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.domain.text_reply import TextPart, TextReply, TokenChance, TokenChoice

OTHERS = ("a", "b", "c")
"""The tokens that might have come instead of any, likeliest first."""

PROMPT_TOKENS, CACHED_TOKENS = 7, 4


class FakeTexts:
    """A `TextDesk` that says its pieces; `hold` stops it before the last one until it is set.

    Each piece is one token. `error` is raised before piece `error_at`, of request number
    `error_in` alone where that is set.
    """

    def __init__(self) -> None:
        """Begin with two words."""
        self.pieces: list[str] = [" Hello", " there\n"]
        self.finish_reason: str = "stop"
        self.error: OurvidzError | None = None
        self.error_at = 0
        self.error_in: int | None = None
        self.hold: asyncio.Event | None = None
        self.requests: list[ChatRequest] = []
        self.running = 0
        self.finished = 0

    async def stream(self, request: ChatRequest) -> AsyncIterator[TextPart | TextReply]:
        """The pieces, then the reply, trimmed as an engine's is."""
        error = self.error if self.error_in in {None, len(self.requests)} else None
        hold = self.hold
        self.requests.append(request)
        self.running += 1
        try:
            for number, piece in enumerate(self.pieces):
                if error is not None and number == self.error_at:
                    raise error
                if hold is not None and number == len(self.pieces) - 1:
                    await hold.wait()
                yield TextPart(text=piece, choices=self._choices(request, piece))
            if error is not None:
                raise error
            yield self._reply(request)
            self.finished += 1
        finally:
            self.running -= 1

    def _choices(self, request: ChatRequest, *pieces: str) -> tuple[TokenChoice, ...]:
        """Each piece as a token, as likely as its length says."""
        count = request.sampling.logprobs
        if count is None:
            return ()
        top = tuple(
            TokenChance(token=token, logprob=-float(rank), bytes=tuple(token.encode()))
            for rank, token in enumerate(OTHERS[:count])
        )
        return tuple(
            TokenChoice(
                token=piece, logprob=-0.5 * len(piece), bytes=tuple(piece.encode()), top=top
            )
            for piece in pieces
        )

    def _reply(self, request: ChatRequest) -> TextReply:
        sampling, text = request.sampling, "".join(self.pieces)
        name = {"instruct": "Qwen2.5-7B-Instruct", "base": "Qwen2.5-7B-Base"}[request.model]
        return TextReply(
            text=text.strip(),
            tokens=len(self.pieces),
            prompt_tokens=PROMPT_TOKENS,
            finish_reason="length" if self.finish_reason == "length" else "stop",
            generation_s=0.25,
            model_name=name,
            active_model=request.model,
            effective={"max_tokens": sampling.max_tokens, "temperature": sampling.temperature},
            truncated=request.truncate is not None,
            dropped_messages=2 if request.truncate else 0,
            cached_tokens=CACHED_TOKENS,
            choices=self._choices(request, *self.pieces),
        )
