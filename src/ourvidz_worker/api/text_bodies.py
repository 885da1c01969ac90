"""The bodies of `/chat`, `/enhance` and `/generate` (contract 2.3), decoded into chat requests."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ourvidz_worker.api.bodies import Fields, JsonObject, decode
from ourvidz_worker.domain.errors import InvalidPrompt, RequestError
from ourvidz_worker.domain.request import ChatRequest, Message, Recorded, Sampling

CHAT_TOKENS = 512
ENHANCE_TOKENS = 200
MOST_MESSAGES = 512
MAX_SEED = 2**53 - 1

CHAT_TYPE = "chat_conversation"
ENHANCE_TYPE = "chat_enhance"

Model = Literal["instruct", "base"]

#: What callers may call the two models, in lower case.
MODELS: Mapping[str, Model] = {
    "qwen_instruct": "instruct",
    "qwen2.5-7b-instruct": "instruct",
    "qwen_base": "base",
    "qwen2.5-7b-base": "base",
    "qwen2.5-7b": "base",
}
MODEL_NAMES = (
    "qwen_instruct, Qwen2.5-7B-Instruct, qwen_base, Qwen2.5-7B-Base or Qwen2.5-7B, in any case"
)

#: Accepted and recorded, without any effect (2.3, P-5).
RECORDED = frozenset(
    {
        "conversation_id",
        "project_id",
        "context_type",
        "project_context",
        "sfw_mode",
        "content_tier",
        "content_type",
        "contentType",
        "nsfw_optimization",
        "nsfw_enforce",
        "nsfw_reason",
        "unrestricted_mode",
    }
)

#: The sentences that stay (H-21).
SENTENCES: Mapping[str, str] = {
    "messages": "Messages must be an array",
    "messages[]": "Invalid message format",
    "messages[].content": "Invalid message format",
    "messages[].role": "Invalid role",
}
NO_MESSAGES = "No messages provided"

Tokens = Annotated[int, Meta(ge=1, description="a whole number from 1")]
Temperature = Annotated[float, Meta(ge=0, le=2, description="a number from 0 to 2")]
TopP = Annotated[float, Meta(gt=0, le=1, description="a number above 0 and up to 1")]
TopK = Annotated[int, Meta(ge=0, le=MAX_SEED, description="a whole number from 0")]
Penalty = Annotated[float, Meta(ge=-2, le=2, description="a number from -2 to 2")]
Repetition = Annotated[float, Meta(ge=0.5, le=2, description="a number from 0.5 to 2")]
Word = Annotated[str, Meta(min_length=1)]
Stop = Annotated[
    Word | Annotated[list[Word], Meta(max_length=8)],
    Meta(description="a string or at most 8 strings, none of them empty"),
]
Seed = Annotated[int, Meta(ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}")]
Name = Annotated[str, Meta(description=MODEL_NAMES)]
Flag = Annotated[bool, Meta(description="true or false")]
Text = Annotated[str, Meta(description="a string")]


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str

    def message(self) -> Message:
        """The turn as it is rendered."""
        return Message(role=self.role, content=self.content)


class SamplingBody(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn; what is absent or null has the contract's default."""

    max_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Repetition | None = None
    stop: Stop | None = None
    seed: Seed | None = None


class MessagesBody(SamplingBody, frozen=True, kw_only=True):
    """A conversation to be answered."""

    messages: Annotated[list[Turn], Meta(description="1 to 512 turns")] | None = None
    model: Name | None = None
    truncate: Annotated[Literal["oldest"], Meta(description='"oldest" or absent')] | None = None
    stream: Flag | None = None


class Parameters(msgspec.Struct, frozen=True, kw_only=True):
    """Sampling in the words of the inputs form (T-6)."""

    max_new_tokens: Tokens | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    repetition_penalty: Repetition | None = None
    do_sample: Flag | None = None
    return_full_text: Flag | None = None
    stop: Stop | None = None
    seed: Seed | None = None


class InputsBody(msgspec.Struct, frozen=True, kw_only=True):
    """A raw text to be continued (T-6)."""

    inputs: Text | None = None
    model: Name | None = None
    parameters: Annotated[Parameters, Meta(description="an object")] | None = None
    stream: Flag | None = None


class PromptBody(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt to be extended (T-7)."""

    prompt: Text | None = None
    model: Name | None = None
    config: Annotated[SamplingBody, Meta(description="an object")] | None = None


class TextOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded text body: what to generate, and how to answer."""

    request: ChatRequest
    stream: bool = False
    sfw: bool = False
    full_text: bool = False


def is_given(fields: Fields, name: str) -> bool:
    """True when the member is there and not null."""
    return name in fields and bytes(fields[name]) != b"null"


def decode_chat(body: JsonObject, most_tokens: int) -> TextOrder:
    """A `/chat` body. Raises `RequestError`."""
    return _decode_messages(body, CHAT_TYPE, CHAT_TOKENS, most_tokens)


def decode_enhance(body: JsonObject, most_tokens: int) -> TextOrder:
    """The messages form of `/enhance`. Raises `RequestError`."""
    return _decode_messages(body, ENHANCE_TYPE, ENHANCE_TOKENS, most_tokens)


def decode_generate(body: JsonObject, most_tokens: int) -> TextOrder:
    """Either form of `/generate`. Raises `RequestError` or `InvalidPrompt`."""
    has_inputs = is_given(body.fields, "inputs")
    if has_inputs == is_given(body.fields, "messages"):
        raise RequestError("Exactly one of messages and inputs is needed.", field="messages")
    return _decode_inputs(body, most_tokens) if has_inputs else decode_chat(body, most_tokens)


def decode_prompt(body: JsonObject, most_tokens: int) -> TextOrder:
    """The prompt form of `/enhance`. Raises `RequestError` or `InvalidPrompt`."""
    asked = decode(body.raw, PromptBody)
    prompt = asked.prompt or ""
    if not prompt.strip():
        raise InvalidPrompt("The prompt must not be blank.", field="prompt")
    model = _model(asked.model, "base")
    request = ChatRequest(
        job_type=ENHANCE_TYPE,
        model=model,
        text=prompt if model == "base" else None,
        messages=() if model == "base" else (Message(role="user", content=prompt),),
        sampling=sampling_of(
            asked.config or SamplingBody(), ENHANCE_TOKENS, most_tokens, "config.max_tokens"
        ),
        recorded=recorded(body.fields),
    )
    return TextOrder(request=request)


def _decode_messages(body: JsonObject, job_type: str, tokens: int, most_tokens: int) -> TextOrder:
    asked = decode(body.raw, MessagesBody, SENTENCES)
    if not asked.messages:
        raise RequestError(NO_MESSAGES, field="messages")
    if len(asked.messages) > MOST_MESSAGES:
        raise RequestError(f"At most {MOST_MESSAGES} messages are taken.", field="messages")
    request = ChatRequest(
        job_type=job_type,
        model=_model(asked.model, "instruct"),
        messages=tuple(turn.message() for turn in asked.messages),
        sampling=sampling_of(asked, tokens, most_tokens, "max_tokens"),
        truncate=asked.truncate,
        recorded=recorded(body.fields),
    )
    return TextOrder(
        request=request,
        stream=bool(asked.stream),
        sfw=bytes(body.fields.get("sfw_mode", b"")) == b"true",
    )


def _decode_inputs(body: JsonObject, most_tokens: int) -> TextOrder:
    asked = decode(body.raw, InputsBody)
    if not asked.inputs:
        raise InvalidPrompt("The inputs must not be empty.", field="inputs")
    given = asked.parameters or Parameters()
    sampling = SamplingBody(
        max_tokens=given.max_new_tokens,
        temperature=0.0 if given.do_sample is False else given.temperature,
        top_p=given.top_p,
        top_k=given.top_k,
        repetition_penalty=given.repetition_penalty,
        stop=given.stop,
        seed=given.seed,
    )
    request = ChatRequest(
        job_type=ENHANCE_TYPE,
        model=_model(asked.model, "base"),
        text=asked.inputs,
        sampling=sampling_of(sampling, ENHANCE_TOKENS, most_tokens, "parameters.max_new_tokens"),
        recorded=recorded(body.fields),
    )
    return TextOrder(
        request=request, stream=bool(asked.stream), full_text=bool(given.return_full_text)
    )


def _model(name: str | None, default: Model) -> Model:
    if name is None:
        return default
    if name.lower() not in MODELS:
        raise RequestError(f"The field model must be {MODEL_NAMES}.", field="model")
    return MODELS[name.lower()]


def sampling_of(asked: SamplingBody, tokens: int, most_tokens: int, field: str) -> Sampling:
    """The full set: what was asked, then the contract's defaults (T-1); `field` limits tokens."""
    if asked.max_tokens is not None and asked.max_tokens > most_tokens:
        raise RequestError(f"The field {field} must be at most {most_tokens}.", field=field)
    given = msgspec.structs.asdict(asked)
    values = {name: given[name] for name in SamplingBody.__struct_fields__}
    values["stop"] = [asked.stop] if isinstance(asked.stop, str) else asked.stop
    values["max_tokens"] = asked.max_tokens or min(tokens, most_tokens)
    present = {name: value for name, value in values.items() if value is not None}
    return msgspec.convert(present, Sampling)


def recorded(fields: Fields) -> Recorded:
    """What travels along without any effect (P-5)."""
    return Recorded(passed_through={name: fields[name] for name in fields if name in RECORDED})
