"""What a streamed chat completion said, read from the bytes that came and when they came."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from ourvidz_worker.cli.chat_wire import HEAD_END, LINE_END, Arrival, Exchange

EVENT_END = b"\n\n"
DATA = b"data: "
DONE = b"[DONE]"
OK = 200


class Piece(NamedTuple):
    """Text that came at once: when (monotonic seconds), and how many characters."""

    at: float
    chars: int


class _Cached(msgspec.Struct, frozen=True):
    cached_tokens: int | None = None


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Cached | None = None


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Event(msgspec.Struct, frozen=True):
    """A chunk, or the problem that ended the stream (`code`)."""

    choices: tuple[_Choice, ...] = ()
    usage: _Usage | None = None
    code: str | None = None


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One question and what came of it; times in monotonic seconds.

    `failure` is empty for a whole answer, else the code of what went wrong. `text` is kept only
    where it was asked for.
    """

    asked_at: float
    ended_at: float
    failure: str = ""
    pieces: tuple[Piece, ...] = ()
    prompt_tokens: int = 0
    tokens: int = 0
    cached_tokens: int = 0
    finish_reason: str | None = None
    text: str = ""

    @property
    def first_s(self) -> float | None:
        """How long the first text took; None where none came."""
        return self.pieces[0].at - self.asked_at if self.pieces else None

    @property
    def token_s(self) -> float | None:
        """Mean time of each token after the first; None of fewer than two."""
        if self.tokens < 2 or len(self.pieces) < 2:  # noqa: PLR2004 - a pair
            return None
        return (self.pieces[-1].at - self.pieces[0].at) / (self.tokens - 1)

    def tokens_at(self, moment: float) -> float:
        """How many tokens had come, by the share of the text that had."""
        chars = sum(piece.chars for piece in self.pieces)
        come = sum(piece.chars for piece in self.pieces if piece.at <= moment)
        return self.tokens * come / chars if chars else 0.0


def read_answer(exchange: Exchange, *, keep_text: bool = False) -> ChatAnswer:
    """Read a whole reply. A body that is no answer is told as a failure, never raised."""
    asked_at, arrivals, lost = exchange
    ended_at = arrivals[-1].at if arrivals else asked_at
    answer = ChatAnswer(asked_at=asked_at, ended_at=ended_at, failure=lost)
    if lost:
        return answer
    status, bodies = _opened(arrivals)
    if status != OK:
        return msgspec.structs.replace(answer, failure=_code_in(bodies, status))
    pieces: list[Piece] = []
    words: list[str] = []
    usage, reason, failure = _Usage(), None, ""
    for at, event in _events(bodies):
        failure = event.code or failure
        usage = event.usage or usage
        for choice in event.choices:
            reason = choice.finish_reason or reason
            if choice.delta.content:
                pieces.append(Piece(at, len(choice.delta.content)))
                words.append(choice.delta.content if keep_text else "")
    details = usage.prompt_tokens_details or _Cached()
    return msgspec.structs.replace(
        answer,
        failure=failure or ("" if reason else "CUT_SHORT"),
        pieces=tuple(pieces),
        prompt_tokens=usage.prompt_tokens,
        tokens=usage.completion_tokens,
        cached_tokens=details.cached_tokens or 0,
        finish_reason=reason,
        text="".join(words),
    )


def _opened(arrivals: Sequence[Arrival]) -> tuple[int, list[Arrival]]:
    """The status, and the body as it came, without the framing of its chunks."""
    head = b""
    for number, arrival in enumerate(arrivals):
        head += arrival.data
        lines, end, body = head.partition(HEAD_END)
        if end:
            rest = [Arrival(arrival.at, body), *arrivals[number + 1 :]]
            status = int(lines.split(b" ", 2)[1])
            is_chunked = b"transfer-encoding: chunked" in lines.lower()
            return status, list(_unchunked(rest)) if is_chunked else rest
    return 0, []


def _unchunked(arrivals: Sequence[Arrival]) -> Iterator[Arrival]:
    """The bodies inside the chunks, each part with the time at which it came."""
    framed, left = b"", 0
    for at, data in arrivals:
        framed += data
        body = b""
        while framed:
            if left > 0:
                body += framed[:left]
                taken = min(left, len(framed))
                framed, left = framed[taken:], left - taken
                continue
            size, end, rest = framed.removeprefix(LINE_END).partition(LINE_END)
            if not end:
                break
            left, framed = int(size.partition(b";")[0] or b"0", 16), rest
        if body:
            yield Arrival(at, body)


def _events(bodies: Sequence[Arrival]) -> Iterator[tuple[float, _Event]]:
    """The events, each with the time at which its last byte came."""
    decoder = msgspec.json.Decoder(_Event)
    held = b""
    for at, data in bodies:
        *whole, held = (held + data).split(EVENT_END)
        for event in whole:
            told = [line[len(DATA) :] for line in event.split(b"\n") if line.startswith(DATA)]
            if told and told != [DONE]:
                yield at, decoder.decode(told[0])


def _code_in(bodies: Sequence[Arrival], status: int) -> str:
    """The code of the problem, or its status where it tells none."""
    try:
        problem = msgspec.json.decode(b"".join(body.data for body in bodies), type=_Event)
    except msgspec.DecodeError:
        return f"HTTP_{status}"
    return problem.code or f"HTTP_{status}"
