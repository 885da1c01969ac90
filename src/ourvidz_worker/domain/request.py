"""What is asked, after decoding: strict, frozen, with every default filled in.

A request is a function of the caller's words and the contract's tables alone. `None` means
"absent" where absence has a meaning of its own (a seed to be drawn, no negative prompt).
"""

from collections.abc import Iterator
from typing import Literal

import msgspec

from ourvidz_worker.domain.receipt import Difference

CALL_BEGIN, CALL_END = "<tool_call>", "</tool_call>"
"""What a model writes before and after a call: a JSON object with `name` and `arguments`."""


class ToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call of one of the caller's tools, as a model wrote it.

    `arguments` is the text of a JSON object; `id` is what the caller's answer to it names.
    """

    name: str
    arguments: str
    id: str = ""


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One turn of a conversation, rendered verbatim (T-2).

    An `assistant` turn may hold calls of tools; a `tool` turn is the answer to one of them.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None

    @property
    def is_of_tools(self) -> bool:
        """True when the turn calls tools, or answers a call."""
        return self.role == "tool" or bool(self.tool_calls)


class Sampling(msgspec.Struct, frozen=True, kw_only=True):
    """How tokens are drawn (contract 2.3); the defaults are the contract's, never a model's.

    `logprobs` asks for the natural logarithms of chances: of each token drawn, and of so many of
    the likeliest beside it (0..20).
    """

    max_tokens: int = 512
    temperature: float = 0.7
    top_p: float = 0.9
    top_k: int = 0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    logprobs: int | None = None


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What travels with a request without any effect on its result (P-5, Q-30).

    `differences` are those that decoding makes (a copy has no guidance); an engine adds its own.
    """

    passed_through: dict[str, msgspec.Raw] = msgspec.field(default_factory=dict)
    ignored_fields: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    differences: tuple[Difference, ...] = ()


class ChatRequest(msgspec.Struct, frozen=True, kw_only=True, tag="chat", tag_field="kind"):
    """Text from a conversation (`messages`) or from a raw beginning (`text`): exactly one.

    `tools` are those that the model may call, each the text of a JSON object. A conversation with
    tools, or with turns of tools in it, is rendered by the model's own template.
    """

    job_type: str
    sampling: Sampling
    model: Literal["instruct", "base"] = "instruct"
    messages: tuple[Message, ...] = ()
    text: str | None = None
    tools: tuple[str, ...] = ()
    truncate: Literal["oldest"] | None = None
    recorded: Recorded = Recorded()

    @property
    def has_tools(self) -> bool:
        """True when tools, calls of them or their answers are part of the conversation."""
        return bool(self.tools) or any(message.is_of_tools for message in self.messages)

    def words(self) -> Iterator[str]:
        """Every text of the request that would reach a model, in order."""
        yield from map(_unescaped, self.tools)
        for message in self.messages:
            yield message.content
            for call in message.tool_calls:
                yield call.name
                yield _unescaped(call.arguments)
        if self.text:
            yield self.text


class ImageRequest(msgspec.Struct, frozen=True, kw_only=True, tag="image", tag_field="kind"):
    """Pictures from an SDXL checkpoint; `reference` makes it image-to-image (contract 4).

    Sizes in pixels; `strength` 0..1 is how far the result may leave the reference, used with a
    reference alone; `mode` is `copy` or `modify` with a reference, `none` without.
    """

    job_type: str
    prompt: str
    negative_prompt: str | None
    steps: int
    guidance: float
    width: int
    height: int
    count: int = 1
    seed: int | None = None
    scheduler: str | None = None
    reference: str | None = None
    strength: float | None = None
    mode: Literal["none", "copy", "modify"] = "none"
    copy_detected_by: Literal["flag", "mode", "parameters"] | None = None
    resize_policy: Literal["center_crop", "letterbox", "stretch"] = "center_crop"
    weighting: bool = False
    weights: str = ""
    allow_truncation: bool = False
    allow_fallback: bool | None = None
    recorded: Recorded = Recorded()


class VideoRequest(msgspec.Struct, frozen=True, kw_only=True, tag="video", tag_field="kind"):
    """A clip, or a still (`frames` 1), from a Wan checkpoint (contract 3.5 and 5).

    `width`, `height` and `frames` are what will be executed, already mapped by the contract's
    rules; `requested_size` and `requested_frames` are what was asked. References are where the
    caller says they lie; the mode follows from which of them are given.
    """

    job_type: str
    prompt: str
    negative_prompt: str | None
    steps: int
    guidance: float
    width: int
    height: int
    frames: int
    requested_size: str | None = None
    requested_frames: int | None = None
    seed: int | None = None
    solver: Literal["dpm++", "unipc"] = "dpm++"
    shift: float = 5.0
    first: str | None = None
    last: str | None = None
    image: str | None = None
    mode: Literal["none", "single", "start", "end", "both"] = "none"
    single_mode: Literal["pinned", "subject"] = "pinned"
    strength: float = 0.2
    conditioning_scale: float | None = None
    enhancement_messages: tuple[Message, ...] = ()
    enhancement_text: str | None = None
    extended_from: str | None = None
    """Where the worker extended the prompt: how it begins; only what follows may be cut (W-3)."""
    allow_truncation: bool = False
    allow_fallback: bool | None = None
    recorded: Recorded = Recorded()


class AdminRequest(msgspec.Struct, frozen=True, kw_only=True, tag="admin", tag_field="kind"):
    """A question about the pod itself, or a change of its memory, through the queue (3.6).

    `target` is a model family (`sdxl`, `chat`, `wan`), `required_gb` in GiB.
    """

    job_type: str
    operation: str = "memory_status"
    target: str | None = None
    required_gb: float | None = None
    force: bool = False
    reason: str | None = None
    recorded: Recorded = Recorded()


Request = ChatRequest | ImageRequest | VideoRequest | AdminRequest
"""One decoded request; the tag `kind` tells which."""


def _unescaped(text: str) -> str:
    """The text of a JSON value in which every character stands for itself, but a few."""
    return msgspec.json.encode(msgspec.json.decode(text)).decode()
