"""The chunks of a streamed chat completion, for all its answers at once."""

from collections.abc import Iterator

import msgspec

from ourvidz_worker.api.openai.calls import Called, CallReader
from ourvidz_worker.api.openai.chances import TokenChances, token_chances
from ourvidz_worker.api.openai.chat_bodies import ChatOrder
from ourvidz_worker.api.openai.chat_replies import (
    CallTold,
    Chunk,
    ChunkChoice,
    Delta,
    call_made,
    finish_of,
)
from ourvidz_worker.api.openai.stamp import Stamp
from ourvidz_worker.api.openai.trim import OuterTrim
from ourvidz_worker.api.openai.usage import Usage, usage_of
from ourvidz_worker.api.sse import data_frame
from ourvidz_worker.api.text_replies import Written
from ourvidz_worker.domain.text_reply import TextPart

UNSET = msgspec.UNSET


class ChatStream:
    """Writes the frames of one call: of each answer the role, the text, how it ended; the usage."""

    def __init__(self, order: ChatOrder, stamp: Stamp) -> None:
        """Nothing was told yet."""
        self._order = order
        self._stamp = stamp
        self._answers = [_Answer(order, stamp, index) for index in range(len(order.requests))]
        self._texts: dict[int, Written] = {}

    def told(self, index: int, item: TextPart | Written) -> Iterator[bytes]:
        """What is told of a part of answer `index`, or of the whole of it at its end."""
        answer = self._answers[index]
        if isinstance(item, TextPart):
            choices = answer.part(item)
        else:
            self._texts[index] = item
            choices = answer.end(item)
        for choice in choices:
            yield self._frame(choice)

    def end(self) -> Iterator[bytes]:
        """What is told after the last answer."""
        if self._order.include_usage:
            texts = [self._texts[index] for index in sorted(self._texts)]
            yield self._frame(usage=usage_of(texts, len(texts)))

    def _frame(self, *choices: ChunkChoice, usage: Usage | None = None) -> bytes:
        chunk = Chunk(
            id=f"chatcmpl-{self._stamp.request_id}",
            created=self._stamp.created,
            model=self._order.model,
            choices=choices,
            system_fingerprint=self._stamp.fingerprint,
            request_id=self._stamp.request_id,
            usage=usage if self._order.include_usage else UNSET,
        )
        return data_frame(msgspec.json.encode(chunk))


class _Answer:
    """One answer as it grows."""

    def __init__(self, order: ChatOrder, stamp: Stamp, index: int) -> None:
        """Nothing has come."""
        self._index = index
        self._stamp = stamp
        self._tells_chances = order.tells_chances
        self._reader = CallReader() if order.first.tools else None
        self._trim = OuterTrim()
        self._calls = 0
        self._has_begun = False

    def part(self, part: TextPart) -> Iterator[ChunkChoice]:
        """The choices that tell a part; its chances go with the first of them."""
        yield from self._begin()
        chances = token_chances(part.choices) if self._tells_chances and part.choices else None
        items = [part.text] if self._reader is None else self._reader.take(part.text)
        deltas = list(self._deltas(items))
        if chances and not deltas:
            deltas.append(Delta(content=""))
        for delta in deltas:
            yield self._choice(delta, chances)
            chances = None

    def end(self, text: Written) -> Iterator[ChunkChoice]:
        """What was held back, and how the answer ended."""
        yield from self._begin()
        for delta in self._deltas(self._reader.end() if self._reader else []):
            yield self._choice(delta)
        finish = finish_of(text, has_calls=self._calls > 0)
        yield ChunkChoice(index=self._index, delta=Delta(), finish_reason=finish)

    def _begin(self) -> Iterator[ChunkChoice]:
        if not self._has_begun:
            self._has_begun = True
            yield self._choice(Delta(role="assistant", content=""))

    def _deltas(self, items: "list[str] | list[str | Called]") -> Iterator[Delta]:
        for item in items:
            if isinstance(item, str):
                if text := self._trim.take(item):
                    yield Delta(content=text)
                continue
            made = call_made(item, self._stamp, self._index, self._calls)
            told = CallTold(id=made.id, function=made.function, index=self._calls)
            self._calls += 1
            yield Delta(tool_calls=(told,))

    def _choice(self, delta: Delta, chances: TokenChances | None = None) -> ChunkChoice:
        return ChunkChoice(index=self._index, delta=delta, logprobs=chances)
