"""Text while the caller waits: `/chat`, `/enhance`, `/generate` (contract 2.3)."""

from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.responses import Response
from starlette.types import ASGIApp

from ourvidz_worker.api.bodies import read_object
from ourvidz_worker.api.call import Call
from ourvidz_worker.api.patience import closing
from ourvidz_worker.api.sse import EventStream, frame
from ourvidz_worker.api.text_bodies import (
    TextOrder,
    decode_chat,
    decode_enhance,
    decode_generate,
    decode_prompt,
    is_given,
)
from ourvidz_worker.api.text_replies import (
    Written,
    chat_reply,
    enhance_reply,
    prompt_reply,
)
from ourvidz_worker.api.writing import parts_of, write

Compose = Callable[[TextOrder, Written], msgspec.Struct]
"""Makes the reply of one route."""


async def chat(call: Call) -> ASGIApp:
    """Answer a conversation; `stream` sends the text as events while it is written."""
    body = await read_object(call.request, call.site.clock)
    return await _answer(call, decode_chat(body, call.site.settings.max_output_tokens), chat_reply)


async def generate(call: Call) -> ASGIApp:
    """Answer a conversation, or continue a raw text; the body decides which."""
    body = await read_object(call.request, call.site.clock)
    order = decode_generate(body, call.site.settings.max_output_tokens)
    return await _answer(call, order, chat_reply)


async def enhance(call: Call) -> ASGIApp:
    """Extend a prompt, given as a conversation or, with a key, as a bare prompt."""
    body = await read_object(call.request, call.site.clock)
    most_tokens = call.site.settings.max_output_tokens
    if is_given(body.fields, "prompt") and not is_given(body.fields, "messages"):
        call.need_key()
        return await _extend(call, decode_prompt(body, most_tokens))
    return await _answer(call, decode_enhance(body, most_tokens), enhance_reply)


async def _answer(call: Call, order: TextOrder, compose: Compose) -> ASGIApp:
    if order.stream:
        frames = _frames(call, order, compose)
        return EventStream(frames, call.site.clock, request_id=call.request_id)
    return call.reply(compose(order, await write(call, order.request)))


async def _extend(call: Call, order: TextOrder) -> Response:
    begun = call.site.clock.monotonic()
    text = await write(call, order.request)
    return call.reply(prompt_reply(order, text, call.site.clock.monotonic() - begun))


async def _frames(call: Call, order: TextOrder, compose: Compose) -> AsyncIterator[bytes]:
    """A frame for each piece, then one with the reply that an unstreamed call would get."""
    async with closing(parts_of(call, order.request)) as items:
        async for item in items:
            if isinstance(item, Written):
                yield frame("completed", call.encode(compose(order, item)))
            elif item.text:
                yield frame("token", msgspec.json.encode({"text": item.text}))
