"""`/v1/chat/completions`: the chat model for clients that speak OpenAI's protocol."""

from collections.abc import AsyncIterator

import msgspec
from starlette.types import ASGIApp

from ourvidz_worker.api.bodies import read_object
from ourvidz_worker.api.call import Call
from ourvidz_worker.api.completions import (
    ChunkChoice,
    CompletionOrder,
    Delta,
    OuterTrim,
    chunk,
    completion,
    decode_completion,
    usage_of,
)
from ourvidz_worker.api.patience import closing
from ourvidz_worker.api.routes.texts import pieces_of, write
from ourvidz_worker.api.sse import EventStream, data_frame
from ourvidz_worker.api.text_bodies import TextOrder
from ourvidz_worker.domain.lane import Lane

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
    """The role, the text as it is written, how it ended, the usage if it was asked, the end."""
    created, trim = call.site.clock.now(), OuterTrim()

    def told(*choices: ChunkChoice, **more: object) -> bytes:
        made = chunk(order, call.request_id, created, *choices)
        return data_frame(call.encode(msgspec.structs.replace(made, **more)))

    has_begun = False
    async with closing(pieces_of(call, TextOrder(request=order.request))) as items:
        async for item in items:
            if not has_begun:
                has_begun = True
                yield told(ChunkChoice(delta=Delta(role="assistant", content="")))
            if not isinstance(item, str):
                yield told(ChunkChoice(delta=Delta(), finish_reason=item.reply.finish_reason))
                if order.include_usage:
                    yield told(usage=usage_of(item))
            elif text := trim.take(item):
                yield told(ChunkChoice(delta=Delta(content=text)))
    yield data_frame(DONE)


def _known(call: Call) -> frozenset[str]:
    """The name that the chat worker's own model has."""
    model = call.site.pod.health("chat").workers.get(Lane.CHAT, {}).get("model")
    return frozenset({model.lower()}) if isinstance(model, str) and model else frozenset()
