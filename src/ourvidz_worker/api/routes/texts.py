"""Text while the caller waits: `/chat`, `/enhance`, `/generate` (contract 2.3).

A caller who leaves cancels the work: the desk's generator is closed at once (T-8).
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Callable

import msgspec
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp

from ourvidz_worker.api.bodies import read_object
from ourvidz_worker.api.call import Call
from ourvidz_worker.api.patience import closing, departure, unless
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
    written,
)
from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.text_reply import TextPart, TextReply
from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

Compose = Callable[[TextOrder, Written], msgspec.Struct]


async def chat(call: Call) -> ASGIApp:
    """Answer a conversation; `stream` sends the text as events while it is written."""
    body = await read_object(call.request, call.site.clock)
    return await _answer(call, decode_chat(body, call.site.settings.max_output_tokens))


async def generate(call: Call) -> ASGIApp:
    """Answer a conversation, or continue a raw text; the body decides which."""
    body = await read_object(call.request, call.site.clock)
    return await _answer(call, decode_generate(body, call.site.settings.max_output_tokens))


async def enhance(call: Call) -> Response:
    """Extend a prompt, given as a conversation or, with a key, as a bare prompt."""
    body = await read_object(call.request, call.site.clock)
    most_tokens = call.site.settings.max_output_tokens
    if is_given(body.fields, "prompt") and not is_given(body.fields, "messages"):
        call.need_key()
        return await _extend(call, decode_prompt(body, most_tokens))
    order = decode_enhance(body, most_tokens)
    return call.reply(enhance_reply(order, await write(call, order)))


async def _answer(call: Call, order: TextOrder) -> ASGIApp:
    if order.stream:
        frames = _frames(call, order)
        return EventStream(frames, call.site.clock, request_id=call.request_id)
    return call.reply(chat_reply(order, await write(call, order)))


async def _extend(call: Call, order: TextOrder) -> Response:
    begun = call.site.clock.monotonic()
    text = await write(call, order)
    return call.reply(prompt_reply(order, text, call.site.clock.monotonic() - begun))


async def _frames(call: Call, order: TextOrder) -> AsyncIterator[bytes]:
    """A frame for each piece, then one with the reply that an unstreamed call would get."""
    async with closing(pieces_of(call, order)) as items:
        async for item in items:
            if isinstance(item, Written):
                yield frame("completed", call.encode(chat_reply(order, item)))
            elif item.text:
                yield frame("token", msgspec.json.encode({"text": item.text}))


async def write(call: Call, order: TextOrder) -> Written:
    """The whole text. Raises `ClientDisconnect` when nobody waits for it any more."""
    text = await unless(_last(call, order), departure(call.request.receive))
    if text is None:
        raise ClientDisconnect
    return text


async def _last(call: Call, order: TextOrder) -> Written:
    async with closing(pieces_of(call, order)) as items:
        (text,) = [item async for item in items if isinstance(item, Written)]
    return text


async def pieces_of(call: Call, order: TextOrder) -> AsyncIterator[TextPart | Written]:
    """The parts as they come, then the whole text, once; the log is told of it."""
    clock = call.site.clock
    started, begun = clock.now(), clock.monotonic()
    pieces: list[str] = []
    reply: TextReply | None = None
    async with closing(call.site.texts.stream(order.request)) as items:
        async for item in items:
            if isinstance(item, TextPart):
                pieces.append(item.text)
                yield item
            else:
                reply = item
    if reply is None:
        raise AttemptError(cause="a text ended without its reply")
    _record(call, order, reply, started=started, seconds=clock.monotonic() - begun)
    yield written(pieces, reply)


def _record(
    call: Call, order: TextOrder, reply: TextReply, *, started: float, seconds: float
) -> None:
    """What a text request leaves in the log: lengths, a digest, the text on request (O-8)."""
    request = order.request
    words = [message.content for message in request.messages] or [request.text or ""]
    lengths = {
        role: sum(len(message.content) for message in request.messages if message.role == role)
        for role in ("system", "user", "assistant")
    }
    log.info(
        "text served, no template override",
        extra={
            "action": Action.TEXT_SERVED,
            "request_id": call.request_id,
            "job_type": request.job_type,
            "messages": len(request.messages),
            "system_chars": lengths["system"],
            "user_chars": lengths["user"] if request.messages else len(words[0]),
            "prompt_sha256": hashlib.sha256("\0".join(words).encode()).hexdigest(),
            "max_tokens": request.sampling.max_tokens,
            "started": rfc3339(started),
            "duration_s": round(seconds, 3),
            "prompt_tokens": reply.prompt_tokens,
            "tokens": reply.tokens,
            "finish_reason": reply.finish_reason,
            "model": reply.model_name,
        }
        | ({"prompt": "\n".join(words)} if call.site.settings.log_prompts else {}),
    )
