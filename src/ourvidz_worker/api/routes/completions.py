"""`/v1/chat/completions`: the chat model for clients that speak OpenAI's protocol."""

from collections.abc import AsyncIterator, Iterator

from starlette.types import ASGIApp

from ourvidz_worker.api.bodies import read_object
from ourvidz_worker.api.call import Call
from ourvidz_worker.api.completions import (
    ChunkChoice,
    CompletionOrder,
    Delta,
    OuterTrim,
    Usage,
    chunk,
    completion,
    decode_completion,
    usage_of,
)
from ourvidz_worker.api.patience import closing
from ourvidz_worker.api.routes.texts import pieces_of, write
from ourvidz_worker.api.sse import EventStream, data_frame
from ourvidz_worker.api.text_bodies import TextOrder
from ourvidz_worker.api.text_replies import Written
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.text_reply import TextPart

DONE = b"[DONE]"


async def complete(call: Call) -> ASGIApp:
    """Answer a conversation; `stream` sends chunks, as OpenAI's clients expect them."""
    body = await read_object(call.request, call.site.clock)
    order = decode_completion(body, call.site.settings.max_output_tokens, _known(call))
    if order.stream:
        return EventStream(_frames(call, order), call.site.clock, request_id=call.request_id)
    text = await write(call, TextOrder(request=order.request))
    return call.reply(completion(text, call.request_id, call.site.clock.now()))


async def _frames(call: Call, order: CompletionOrder) -> AsyncIterator[bytes]:
    """The chunks of everything that comes, and the end."""
    scribe = _Scribe(call, order)
    async with closing(pieces_of(call, TextOrder(request=order.request))) as items:
        async for item in items:
            for told in scribe.told(item):
                yield told
    yield data_frame(DONE)


class _Scribe:
    """Writes the chunks of one stream: the role first, then the text, how it ended, the usage."""

    def __init__(self, call: Call, order: CompletionOrder) -> None:
        """Nothing was told yet."""
        self._call = call
        self._order = order
        self._created = call.site.clock.now()
        self._trim = OuterTrim()
        self._has_begun = False

    def told(self, item: TextPart | Written) -> Iterator[bytes]:
        """What is told of a part, or of the whole text at its end."""
        if not self._has_begun:
            self._has_begun = True
            yield self._frame(ChunkChoice(delta=Delta(role="assistant", content="")))
        if isinstance(item, TextPart):
            if text := self._trim.take(item.text):
                yield self._frame(ChunkChoice(delta=Delta(content=text)))
            return
        yield self._frame(ChunkChoice(delta=Delta(), finish_reason=item.reply.finish_reason))
        if self._order.include_usage:
            yield self._frame(usage=usage_of(item))

    def _frame(self, *choices: ChunkChoice, usage: Usage | None = None) -> bytes:
        made = chunk(self._order, self._call.request_id, self._created, choices, usage)
        return data_frame(self._call.encode(made))


def _known(call: Call) -> frozenset[str]:
    """The name that the chat worker's own model has."""
    model = call.site.pod.health("chat").workers.get(Lane.CHAT, {}).get("model")
    return frozenset({model.lower()}) if isinstance(model, str) and model else frozenset()
