"""Texts on their way to a caller who waits: part by part, then whole, with a line in the log.

A caller who leaves cancels the work: every generator of the desk is closed at once (T-8).
"""

import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack

from starlette.requests import ClientDisconnect

from ourvidz_worker.api.call import Call
from ourvidz_worker.api.chorus import together
from ourvidz_worker.api.patience import closing, departure, unless
from ourvidz_worker.api.text_replies import Written, written
from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.domain.request import ChatRequest
from ourvidz_worker.domain.text_reply import TextPart, TextReply
from ourvidz_worker.domain.times import rfc3339
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)


async def write(call: Call, request: ChatRequest) -> Written:
    """One whole text. Raises `ClientDisconnect` when nobody waits for it any more."""
    (text,) = await write_all(call, (request,))
    return text


async def write_all(call: Call, requests: Sequence[ChatRequest]) -> list[Written]:
    """The whole texts of several requests, in their order; one that fails fails all."""
    texts = await unless(_collect(call, requests), departure(call.request.receive))
    if texts is None:
        raise ClientDisconnect
    return texts


async def parts_of_all(
    call: Call, requests: Sequence[ChatRequest]
) -> AsyncIterator[tuple[int, TextPart | Written]]:
    """What comes of several requests at once, each with its request's number.

    Each request takes a place of its own; the first has that of the call (A-6).
    """
    if len(requests) == 1:
        async with closing(parts_of(call, requests[0])) as items:
            async for item in items:
                yield 0, item
        return
    with ExitStack() as places:
        for _ in requests[1:]:
            places.enter_context(call.place())
        async with closing(together([parts_of(call, each) for each in requests])) as pairs:
            async for pair in pairs:
                yield pair


async def parts_of(call: Call, request: ChatRequest) -> AsyncIterator[TextPart | Written]:
    """The parts as they come, then the whole text, once; the log is told of it."""
    clock = call.site.clock
    started, begun = clock.now(), clock.monotonic()
    pieces: list[str] = []
    reply: TextReply | None = None
    async with closing(call.site.texts.stream(request)) as items:
        async for item in items:
            if isinstance(item, TextPart):
                pieces.append(item.text)
                yield item
            else:
                reply = item
    if reply is None:
        raise AttemptError(cause="a text ended without its reply")
    _record(call, request, reply, started=started, seconds=clock.monotonic() - begun)
    yield written(pieces, reply)


async def _collect(call: Call, requests: Sequence[ChatRequest]) -> list[Written]:
    texts: dict[int, Written] = {}
    async with closing(parts_of_all(call, requests)) as items:
        async for number, item in items:
            if isinstance(item, Written):
                texts[number] = item
    return [texts[number] for number in range(len(requests))]


def _record(
    call: Call, request: ChatRequest, reply: TextReply, *, started: float, seconds: float
) -> None:
    """What a text request leaves in the log: lengths, a digest, the text on request (O-8)."""
    words = list(request.words())
    lengths = {
        role: sum(len(message.content) for message in request.messages if message.role == role)
        for role in ("system", "user")
    }
    log.info(
        "text served, no template override",
        extra={
            "action": Action.TEXT_SERVED,
            "request_id": call.request_id,
            "job_type": request.job_type,
            "messages": len(request.messages),
            "tools": len(request.tools),
            "system_chars": lengths["system"],
            "user_chars": lengths["user"] if request.messages else len(request.text or ""),
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
