"""The body of `/v1/chat/completions`, decoded into chat requests."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ourvidz_worker.api.bodies import JsonObject, decode
from ourvidz_worker.api.openai.fields import (
    CompletionFields,
    Likeliest,
    attempts,
    model_of,
    refuse_others,
)
from ourvidz_worker.api.openai.tools import tools_of
from ourvidz_worker.api.openai.turns import CompletionTurn, messages_of
from ourvidz_worker.api.text_bodies import (
    CHAT_TOKENS,
    CHAT_TYPE,
    MOST_MESSAGES,
    NO_MESSAGES,
    SENTENCES,
    Flag,
    Model,
    Tokens,
    recorded,
    sampling_of,
)
from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.request import ChatRequest, Sampling

DEFAULT_MODEL = "qwen_instruct"

#: Fields that would change the answer, with the values that do not.
HARMLESS: Mapping[str, tuple[bytes, ...]] = {
    "functions": (b"[]",),
    "function_call": (b'"none"', b'"auto"'),
    "logit_bias": (b"{}",),
    "response_format": (b'{"type":"text"}',),
    "modalities": (b'["text"]',),
    "audio": (),
    "moderation": (),
    "reasoning_effort": (b'"none"',),
    "verbosity": (b'"medium"',),
    "web_search_options": (),
}


class ChatCompletionBody(CompletionFields, frozen=True, kw_only=True):
    """A conversation to be answered; further fields of OpenAI's are tolerated."""

    messages: Annotated[list[CompletionTurn], Meta(description="1 to 512 turns")] | None = None
    max_completion_tokens: Tokens | None = None
    logprobs: Flag | None = None
    top_logprobs: Likeliest | None = None
    tools: Annotated[list[msgspec.Raw], Meta(description="an array")] | None = None
    tool_choice: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    parallel_tool_calls: Flag | None = None
    truncate: Annotated[Literal["oldest"], Meta(description='"oldest" or absent')] | None = None


class ChatOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded body: a request for each text, the model's name as asked, and how to reply."""

    requests: tuple[ChatRequest, ...]
    model: str
    stream: bool
    include_usage: bool

    @property
    def first(self) -> ChatRequest:
        """The request that all of them are, but for the seed."""
        return self.requests[0]

    @property
    def tells_chances(self) -> bool:
        """True when the reply tells how likely its tokens were."""
        return self.first.sampling.logprobs is not None


def decode_chat_completion(
    body: JsonObject, most_tokens: int, known: Mapping[str, Model]
) -> ChatOrder:
    """A body; `known` are the models' own names, in lower case. Raises `RequestError`."""
    asked = decode(body.raw, ChatCompletionBody, SENTENCES)
    if not asked.messages:
        raise RequestError(NO_MESSAGES, field="messages")
    if len(asked.messages) > MOST_MESSAGES:
        raise RequestError(f"At most {MOST_MESSAGES} messages are taken.", field="messages")
    refuse_others(body, HARMLESS)
    request = ChatRequest(
        job_type=CHAT_TYPE,
        model=model_of(asked.model, DEFAULT_MODEL, known),
        messages=messages_of(asked.messages),
        tools=tools_of(asked.tools, asked.tool_choice, asked.parallel_tool_calls),
        sampling=_sampling(asked, most_tokens),
        truncate=asked.truncate,
        recorded=recorded(body.fields),
    )
    if request.truncate is not None and request.has_tools:
        raise RequestError(
            "The field truncate is not served in a conversation with tools.", field="truncate"
        )
    return ChatOrder(
        requests=tuple(attempts(request, asked.n or 1)),
        model=asked.model or DEFAULT_MODEL,
        stream=bool(asked.stream),
        include_usage=asked.include_usage,
    )


def _sampling(asked: ChatCompletionBody, most_tokens: int) -> Sampling:
    """The newer name of the limit goes first."""
    field = "max_tokens"
    if asked.max_completion_tokens is not None:
        field = "max_completion_tokens"
        asked = msgspec.structs.replace(asked, max_tokens=asked.max_completion_tokens)
    if asked.top_logprobs is not None and not asked.logprobs:
        raise RequestError(
            "The field top_logprobs needs logprobs to be true.", field="top_logprobs"
        )
    sampling = sampling_of(asked, CHAT_TOKENS, most_tokens, field)
    if not asked.logprobs:
        return sampling
    return msgspec.structs.replace(sampling, logprobs=asked.top_logprobs or 0)
