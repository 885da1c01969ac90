"""Chat completions as OpenAI's clients write and read them; the text is that of `/chat`."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ourvidz_worker.api.bodies import JsonObject, decode
from ourvidz_worker.api.text_bodies import (
    CHAT_TOKENS,
    CHAT_TYPE,
    MODEL_NAMES,
    MODELS,
    MOST_MESSAGES,
    NO_MESSAGES,
    SENTENCES,
    Flag,
    Model,
    Name,
    SamplingBody,
    Tokens,
    Turn,
    recorded,
    sampling_of,
)
from ourvidz_worker.api.text_replies import Written
from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.request import ChatRequest

#: What would change the answer and is not served: field to the values that mean "not wanted".
NOT_SERVED: Mapping[str, tuple[bytes, ...]] = {
    "n": (b"1",),
    "tools": (b"[]",),
    "functions": (b"[]",),
    "logprobs": (b"false",),
    "logit_bias": (b"{}",),
    "response_format": (b'{"type":"text"}',),
}


class StreamOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream tells beside the text."""

    include_usage: Flag | None = None


class CompletionBody(SamplingBody, frozen=True, kw_only=True):
    """A conversation to be answered; further fields of OpenAI's are tolerated."""

    messages: Annotated[list[Turn], Meta(description="1 to 512 turns")] | None = None
    model: Name | None = None
    max_completion_tokens: Tokens | None = None
    stream: Flag | None = None
    stream_options: Annotated[StreamOptions, Meta(description="an object")] | None = None


class CompletionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded body: the request, the model's name as it was asked, and how to reply."""

    request: ChatRequest
    model: str
    stream: bool
    include_usage: bool


class CompletionMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer."""

    content: str
    role: str = "assistant"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer; there is never more than one."""

    message: CompletionMessage
    finish_reason: Literal["stop", "length"]
    index: int = 0
    logprobs: None = None


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer; `created` in seconds since the epoch."""

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    object: str = "chat.completion"


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk adds to the answer."""

    role: str | None = None
    content: str | None = None


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """The answer's next part."""

    delta: Delta
    finish_reason: Literal["stop", "length"] | None = None
    index: int = 0
    logprobs: None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream."""

    id: str
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    usage: Usage | None = None
    object: str = "chat.completion.chunk"


class OuterTrim:
    """Trims the outer white space of a text that comes in pieces (T-5)."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._held = ""
        self._begun = False

    def take(self, piece: str) -> str:
        """What may be told now; white space waits until it turns out to be inside."""
        text = self._held + piece
        if not self._begun:
            text = text.lstrip()
        told = text.rstrip()
        self._held = text[len(told) :]
        self._begun = self._begun or bool(told)
        return told


def decode_completion(body: JsonObject, most_tokens: int, known: frozenset[str]) -> CompletionOrder:
    """A body; `known` are further names of the chat model, in lower case. Raises `RequestError`."""
    asked = decode(body.raw, CompletionBody, SENTENCES)
    if not asked.messages:
        raise RequestError(NO_MESSAGES, field="messages")
    if len(asked.messages) > MOST_MESSAGES:
        raise RequestError(f"At most {MOST_MESSAGES} messages are taken.", field="messages")
    for field, unwanted in NOT_SERVED.items():
        _refuse_unless_absent(body, field, unwanted)
    return CompletionOrder(
        request=ChatRequest(
            job_type=CHAT_TYPE,
            model=_model(asked.model, known),
            messages=tuple(turn.message() for turn in asked.messages),
            sampling=sampling_of(_sampling_body(asked), CHAT_TOKENS, most_tokens, "max_tokens"),
            recorded=recorded(body.fields),
        ),
        model=asked.model or "qwen_instruct",
        stream=bool(asked.stream),
        include_usage=bool(asked.stream_options and asked.stream_options.include_usage),
    )


def completion(text: Written, request_id: str, created: float) -> Completion:
    """The reply to an order that is not streamed."""
    choice = Choice(
        message=CompletionMessage(content=text.text), finish_reason=text.reply.finish_reason
    )
    return Completion(
        id=_id(request_id),
        created=int(created),
        model=text.reply.model_name,
        choices=(choice,),
        usage=usage_of(text),
    )


def chunk(
    order: CompletionOrder,
    request_id: str,
    created: float,
    choices: tuple[ChunkChoice, ...],
    usage: Usage | None,
) -> Chunk:
    """One event of the stream; the one that tells the usage has no choices."""
    return Chunk(
        id=_id(request_id), created=int(created), model=order.model, choices=choices, usage=usage
    )


def usage_of(text: Written) -> Usage:
    """Tokens read and written."""
    reply = text.reply
    return Usage(
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.tokens,
        total_tokens=reply.prompt_tokens + reply.tokens,
    )


def _model(name: str | None, known: frozenset[str]) -> Model:
    folded = (name or "qwen_instruct").lower()
    if folded in MODELS:
        return MODELS[folded]
    if folded in known:
        return "instruct"
    raise RequestError(f"The field model must be {MODEL_NAMES}.", field="model")


def _sampling_body(asked: CompletionBody) -> CompletionBody:
    """The newer name of the limit goes first."""
    if asked.max_completion_tokens is None:
        return asked
    return msgspec.structs.replace(asked, max_tokens=asked.max_completion_tokens)


def _refuse_unless_absent(body: JsonObject, field: str, unwanted: tuple[bytes, ...]) -> None:
    given = b"".join(bytes(body.fields.get(field, b"null")).split())
    if given not in {b"null", *unwanted}:
        raise RequestError(f"The field {field} is not served here; leave it out.", field=field)


def _id(request_id: str) -> str:
    return f"chatcmpl-{request_id}"
