"""The replies of `/v1/completions`; whole ones and chunks have one shape."""

from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec

from ourvidz_worker.api.openai.chances import TextChances, text_chances
from ourvidz_worker.api.openai.raw_bodies import CompletionOrder
from ourvidz_worker.api.openai.stamp import Stamp
from ourvidz_worker.api.openai.usage import Usage, usage_of
from ourvidz_worker.api.sse import data_frame
from ourvidz_worker.api.text_replies import Written
from ourvidz_worker.domain.text_reply import TextPart

UNSET = msgspec.UNSET


class RawChoice(msgspec.Struct, frozen=True, kw_only=True):
    """A continuation, or its next part; it begins with the white space that parts it."""

    index: int
    text: str
    finish_reason: Literal["stop", "length"] | None
    logprobs: TextChances | None = None


class RawChunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream."""

    id: str
    created: int
    model: str
    choices: tuple[RawChoice, ...]
    system_fingerprint: str | None
    request_id: str
    object: str = "text_completion"
    usage: Usage | msgspec.UnsetType | None = UNSET


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """All continuations, those of one prompt behind those of the one before."""

    id: str
    created: int
    model: str
    choices: tuple[RawChoice, ...]
    usage: Usage
    system_fingerprint: str | None
    object: str = "text_completion"


def completion(order: CompletionOrder, texts: Sequence[Written], stamp: Stamp) -> Completion:
    """The reply to an order that is not streamed."""
    choices = [
        RawChoice(
            index=index,
            text=text.raw.rstrip(),
            finish_reason=text.reply.finish_reason,
            logprobs=text_chances(text.reply.choices) if order.tells_chances else None,
        )
        for index, text in enumerate(texts)
    ]
    return Completion(
        id=f"cmpl-{stamp.request_id}",
        created=stamp.created,
        model=texts[0].reply.model_name,
        choices=tuple(choices),
        usage=usage_of(texts, order.each),
        system_fingerprint=stamp.fingerprint,
    )


class RawStream:
    """Writes the frames of one call: of each text its parts and how it ended; the usage."""

    def __init__(self, order: CompletionOrder, stamp: Stamp) -> None:
        """Nothing was told yet."""
        self._order = order
        self._stamp = stamp
        self._held = [""] * len(order.requests)
        self._offsets = [0] * len(order.requests)
        self._texts: dict[int, Written] = {}

    def told(self, index: int, item: TextPart | Written) -> Iterator[bytes]:
        """What is told of a part of text `index`, or of the whole of it at its end."""
        if isinstance(item, Written):
            self._texts[index] = item
            yield self._frame(
                RawChoice(index=index, text="", finish_reason=item.reply.finish_reason)
            )
            return
        text = self._held[index] + item.text
        told = text.rstrip()
        self._held[index] = text[len(told) :]
        chances = self._chances(index, item)
        if told or chances:
            yield self._frame(
                RawChoice(index=index, text=told, finish_reason=None, logprobs=chances)
            )

    def end(self) -> Iterator[bytes]:
        """What is told after the last text."""
        if self._order.include_usage:
            texts = [self._texts[index] for index in sorted(self._texts)]
            yield self._frame(usage=usage_of(texts, self._order.each))

    def _chances(self, index: int, part: TextPart) -> TextChances | None:
        if not (self._order.tells_chances and part.choices):
            return None
        chances = text_chances(part.choices, self._offsets[index])
        self._offsets[index] += sum(map(len, chances.tokens))
        return chances

    def _frame(self, *choices: RawChoice, usage: Usage | None = None) -> bytes:
        chunk = RawChunk(
            id=f"cmpl-{self._stamp.request_id}",
            created=self._stamp.created,
            model=self._order.model,
            choices=choices,
            system_fingerprint=self._stamp.fingerprint,
            request_id=self._stamp.request_id,
            usage=usage if self._order.include_usage else UNSET,
        )
        return data_frame(msgspec.json.encode(chunk))
