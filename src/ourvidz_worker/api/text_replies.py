"""The replies of `/chat`, `/enhance` and `/generate`, as the contract lists them (T-4 to T-7)."""

from typing import Any

import msgspec

from ourvidz_worker.api.text_bodies import TextOrder
from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.text_reply import TextReply

UNSET = msgspec.UNSET
OptionalFlag = bool | msgspec.UnsetType

SOURCES = {"instruct": "qwen_instruct", "base": "qwen_base"}


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The model that produced this very reply, and the parameters it used (T-9)."""

    model_name: str
    active_model_type: str
    parameters: Metadata
    inference_engine: str = "pure"
    sfw_mode: OptionalFlag = UNSET


class TextFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What every reply to a messages or inputs form tells; times in seconds."""

    generation_time: float
    tokens_generated: int
    prompt_tokens: int
    finish_reason: str
    model_info: ModelInfo
    success: bool = True
    sfw_mode: OptionalFlag = UNSET
    truncated: OptionalFlag = UNSET
    dropped_messages: int | msgspec.UnsetType = UNSET
    empty_output: OptionalFlag = UNSET


class ChatReply(TextFacts, frozen=True, kw_only=True):
    """An answer; `generated_text` is there for the inputs form alone."""

    response: str
    generated_text: str | msgspec.UnsetType = UNSET


class EnhanceReply(TextFacts, frozen=True, kw_only=True):
    """An extended prompt."""

    enhanced_prompt: str


class PromptReply(msgspec.Struct, frozen=True, kw_only=True):
    """An extended prompt, in the words of the prompt form; `processing_time` in seconds."""

    enhanced_prompt: str
    original_prompt: str
    enhancement_source: str
    processing_time: float
    model: str
    enhancement_applied: bool
    worker: str = "wan"
    success: bool = True
    empty_output: OptionalFlag = UNSET


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """A text with all that is known of it; `raw` still has its outer white space."""

    raw: str
    reply: TextReply

    @property
    def text(self) -> str:
        """The text with its outer white space trimmed, nothing else (T-5)."""
        return self.reply.text.strip()


def written(pieces: list[str], reply: TextReply) -> Written:
    """Put the pieces together; where they do not add up to the reply, the reply counts."""
    raw = "".join(pieces)
    return Written(raw=raw if raw.strip() == reply.text.strip() else reply.text, reply=reply)


def chat_reply(order: TextOrder, text: Written) -> ChatReply:
    """The reply of `/chat`, and of `/generate` in either form."""
    started = order.request.text
    generated = text.text
    if order.full_text and started is not None:
        generated = started + text.raw.rstrip()
    return ChatReply(
        response=text.text,
        generated_text=UNSET if started is None else generated,
        **_facts(order, text),
    )


def enhance_reply(order: TextOrder, text: Written) -> EnhanceReply:
    """The reply of `/enhance` to messages."""
    return EnhanceReply(enhanced_prompt=text.text, **_facts(order, text))


def prompt_reply(order: TextOrder, text: Written, seconds: float) -> PromptReply:
    """The reply of `/enhance` to a prompt: Base continues it, Instruct answers it (T-7)."""
    started = order.request.text
    prompt = started if started is not None else order.request.messages[0].content
    return PromptReply(
        enhanced_prompt=text.text if started is None else started + text.raw.rstrip(),
        original_prompt=prompt,
        enhancement_source=SOURCES[order.request.model],
        processing_time=round(seconds, 3),
        model=text.reply.model_name,
        enhancement_applied=text.text != "",
        empty_output=text.text == "" or UNSET,
    )


def _facts(order: TextOrder, text: Written) -> dict[str, Any]:
    reply = text.reply
    sfw = order.sfw or UNSET
    asked_to_truncate = order.request.truncate is not None
    return {
        "generation_time": round(reply.generation_s, 3),
        "tokens_generated": reply.tokens,
        "prompt_tokens": reply.prompt_tokens,
        "finish_reason": reply.finish_reason,
        "sfw_mode": sfw,
        "truncated": reply.truncated if asked_to_truncate else UNSET,
        "dropped_messages": reply.dropped_messages if asked_to_truncate else UNSET,
        "empty_output": text.text == "" or UNSET,
        "model_info": ModelInfo(
            model_name=reply.model_name,
            active_model_type=reply.active_model,
            parameters=reply.effective,
            sfw_mode=sfw,
        ),
    }
