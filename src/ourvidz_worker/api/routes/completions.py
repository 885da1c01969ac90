"""`/v1/chat/completions` and `/v1/completions`, for clients that speak OpenAI's protocol."""

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

import msgspec
from starlette.types import ASGIApp

from ourvidz_worker.api.bodies import read_object
from ourvidz_worker.api.call import Call
from ourvidz_worker.api.openai.chat_bodies import decode_chat_completion
from ourvidz_worker.api.openai.chat_replies import chat_completion
from ourvidz_worker.api.openai.chat_stream import ChatStream
from ourvidz_worker.api.openai.models import own_names
from ourvidz_worker.api.openai.raw_bodies import decode_completion
from ourvidz_worker.api.openai.raw_replies import RawStream, completion
from ourvidz_worker.api.openai.stamp import stamp_of
from ourvidz_worker.api.patience import closing
from ourvidz_worker.api.problems import openai_problem_of
from ourvidz_worker.api.sse import EventStream, data_frame
from ourvidz_worker.api.text_bodies import Model
from ourvidz_worker.api.text_replies import Written
from ourvidz_worker.api.writing import parts_of_all, write_all
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.domain.text_reply import TextPart

DONE = data_frame(b"[DONE]")


class Scribe(Protocol):
    """Writes the frames of one streamed call."""

    def told(self, index: int, item: TextPart | Written) -> Iterator[bytes]:
        """What is told of a part of text `index`, or of the whole of it at its end."""
        ...

    def end(self) -> Iterator[bytes]:
        """What is told after the last text."""
        ...


async def chat(call: Call) -> ASGIApp:
    """Answer a conversation; `stream` sends chunks, as OpenAI's clients expect them."""
    body = await read_object(call.request, call.site.clock)
    order = decode_chat_completion(body, call.site.settings.max_output_tokens, _known(call))
    stamp = stamp_of(call)
    if order.stream:
        return _stream(call, order.requests, ChatStream(order, stamp))
    texts = await write_all(call, order.requests)
    return call.reply(chat_completion(order, texts, stamp))


async def continue_texts(call: Call) -> ASGIApp:
    """Continue raw texts; `stream` sends chunks, as OpenAI's clients expect them."""
    body = await read_object(call.request, call.site.clock)
    order = decode_completion(body, call.site.settings.max_output_tokens, _known(call))
    stamp = stamp_of(call)
    if order.stream:
        return _stream(call, order.requests, RawStream(order, stamp))
    texts = await write_all(call, order.requests)
    return call.reply(completion(order, texts, stamp))


def _stream(call: Call, requests: Sequence[ChatRequest], scribe: Scribe) -> ASGIApp:
    frames = _frames(call, requests, scribe)
    return EventStream(frames, call.site.clock, request_id=call.request_id)


async def _frames(
    call: Call, requests: Sequence[ChatRequest], scribe: Scribe
) -> AsyncIterator[bytes]:
    """The chunks of everything that comes, and the end; an error on the way is a last chunk."""
    has_begun = False
    try:
        async with closing(_told(call, requests, scribe)) as frames:
            async for told in frames:
                has_begun = True
                yield told
    except OurvidzError as error:
        if not has_begun:
            raise
        yield data_frame(msgspec.json.encode(openai_problem_of(error, call.request_id)))
        return
    yield DONE


async def _told(
    call: Call, requests: Sequence[ChatRequest], scribe: Scribe
) -> AsyncIterator[bytes]:
    async with closing(parts_of_all(call, requests)) as items:
        async for index, item in items:
            for told in scribe.told(index, item):
                yield told
    for told in scribe.end():
        yield told


def _known(call: Call) -> dict[str, Model]:
    """The names that the models of the chat worker have by themselves."""
    return own_names(call.site.pod.health("chat"))
