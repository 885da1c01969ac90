"""The replies of `/v1/chat/completions`: whole, and chunk by chunk."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from ourvidz_worker.api.openai.calls import Called, CallReader
from ourvidz_worker.api.openai.chances import TokenChances, token_chances
from ourvidz_worker.api.openai.chat_bodies import ChatOrder
from ourvidz_worker.api.openai.stamp import Stamp
from ourvidz_worker.api.openai.usage import Usage, usage_of
from ourvidz_worker.api.text_replies import OptionalFlag, Written

UNSET = msgspec.UNSET
Finish = Literal["stop", "length", "tool_calls"]


class FunctionCalled(msgspec.Struct, frozen=True, kw_only=True):
    """What is called; `arguments` is the text of a JSON object."""

    name: str
    arguments: str


class CallMade(msgspec.Struct, frozen=True, kw_only=True):
    """A call of one of the caller's tools."""

    id: str
    function: FunctionCalled
    type: str = "function"


class CallTold(CallMade, frozen=True, kw_only=True):
    """The same in a stream, where its place is told; it always comes whole."""

    index: int


class CompletionMessage(msgspec.Struct, frozen=True, kw_only=True):
    """The answer; its content is null when it is calls alone."""

    content: str | None
    role: str = "assistant"
    tool_calls: tuple[CallMade, ...] | msgspec.UnsetType = UNSET
    refusal: None = None


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """One answer."""

    index: int
    message: CompletionMessage
    finish_reason: Finish
    logprobs: TokenChances | None = None


class ChatCompletion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer; `created` in seconds since the epoch.

    `truncated` and `dropped_messages` are there for who let old turns be dropped (T-3).
    """

    id: str
    created: int
    model: str
    choices: tuple[Choice, ...]
    usage: Usage
    system_fingerprint: str | None
    object: str = "chat.completion"
    truncated: OptionalFlag = UNSET
    dropped_messages: int | msgspec.UnsetType = UNSET


class Delta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a chunk adds to an answer."""

    role: str | None = None
    content: str | None = None
    tool_calls: tuple[CallTold, ...] = ()


class ChunkChoice(msgspec.Struct, frozen=True, kw_only=True):
    """An answer's next part."""

    index: int
    delta: Delta
    finish_reason: Finish | None = None
    logprobs: TokenChances | None = None


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream."""

    id: str
    created: int
    model: str
    choices: tuple[ChunkChoice, ...]
    system_fingerprint: str | None
    request_id: str
    object: str = "chat.completion.chunk"
    usage: Usage | msgspec.UnsetType | None = UNSET


def chat_completion(order: ChatOrder, texts: Sequence[Written], stamp: Stamp) -> ChatCompletion:
    """The reply to an order that is not streamed."""
    reply = texts[0].reply
    may_drop = order.first.truncate is not None
    return ChatCompletion(
        id=f"chatcmpl-{stamp.request_id}",
        created=stamp.created,
        model=reply.model_name,
        choices=tuple(_choice(order, index, text, stamp) for index, text in enumerate(texts)),
        usage=usage_of(texts, len(texts)),
        system_fingerprint=stamp.fingerprint,
        truncated=reply.truncated if may_drop else UNSET,
        dropped_messages=reply.dropped_messages if may_drop else UNSET,
    )


def finish_of(text: Written, *, has_calls: bool) -> Finish:
    """How an answer ended; one that was cut off is not complete, whatever it calls."""
    reason = text.reply.finish_reason
    return "tool_calls" if has_calls and reason == "stop" else reason


def call_made(called: Called, stamp: Stamp, index: int, number: int) -> CallMade:
    """Call `number` of answer `index`; its id is like no other."""
    return CallMade(
        id=f"call_{stamp.request_id.replace('-', '')}{index}{number:02d}",
        function=FunctionCalled(name=called.name, arguments=called.arguments),
    )


def _choice(order: ChatOrder, index: int, text: Written, stamp: Stamp) -> Choice:
    said, calls = text.text, []
    if order.first.tools:
        reader = CallReader()
        items = [*reader.take(said), *reader.end()]
        said = "".join(item for item in items if isinstance(item, str)).strip()
        called = [item for item in items if isinstance(item, Called)]
        calls = [call_made(each, stamp, index, number) for number, each in enumerate(called)]
    return Choice(
        index=index,
        message=CompletionMessage(
            content=said or (None if calls else ""), tool_calls=tuple(calls) or UNSET
        ),
        finish_reason=finish_of(text, has_calls=bool(calls)),
        logprobs=token_chances(text.reply.choices) if order.tells_chances else None,
    )
