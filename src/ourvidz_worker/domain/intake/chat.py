"""Chat jobs and questions about the pod (contract 3.6), and the sampling fields of 2.3."""

from typing import Literal

import msgspec

from ourvidz_worker.domain.errors import InvalidPrompt, RequestError
from ourvidz_worker.domain.intake.common import MAX_SEED, Limits, read_recorded
from ourvidz_worker.domain.intake.fields import Fields, Found, wrong
from ourvidz_worker.domain.job_types import JobType
from ourvidz_worker.domain.request import AdminRequest, ChatRequest, Message, Sampling

MAX_MESSAGES = 512
MAX_STOPS = 8
MAX_TOP_K = 1_000_000

ROLES = ("system", "user", "assistant")

#: Every name a caller may use for a model, in lower case (2.3).
MODELS: dict[str, Literal["instruct", "base"]] = {
    "qwen_instruct": "instruct",
    "qwen2.5-7b-instruct": "instruct",
    "qwen_base": "base",
    "qwen2.5-7b-base": "base",
    "qwen2.5-7b": "base",
}

TRUNCATIONS: tuple[Literal["oldest"], ...] = ("oldest",)

OPERATIONS = (
    "memory_status",
    "memory_report",
    "worker_info",
    "health",
    "enhancement_info",
    "status",
    "pressure_check",
)

#: Operations of section 9 that change the pod's memory.
CHANGES = (
    "force_unload",
    "force_unload_all_except",
    "force_cleanup",
    "handle_emergency_request",
    "predictive_load",
)

TARGETS = ("sdxl", "chat", "wan")
MAX_GB = 4096

JOB_LEVELS = ("config.", "")
"""In a job the sampling fields are read from `config`, then from the top level (J-1)."""


def read_chat(fields: Fields, row: JobType, limits: Limits) -> ChatRequest:
    """The strict request of a chat job. Raises `RequestError` and `InvalidPrompt`."""
    given = fields.find("messages", "config.messages", "metadata.messages")
    messages = _user_turn(fields) if given is None else read_messages(given)
    return ChatRequest(
        job_type=row.name,
        sampling=read_sampling(fields, limits, max_tokens=row.max_tokens, levels=JOB_LEVELS),
        model=read_model(fields, "config.model", "model") or "instruct",
        messages=messages,
        truncate=fields.choice("config.truncate", "truncate", allowed=TRUNCATIONS),
        recorded=read_recorded(fields),
    )


def read_admin(fields: Fields, row: JobType, limits: Limits) -> AdminRequest:
    """A question about the pod, or a change of its memory where the operator lets queues do that.

    Raises `RequestError`, also for a change that is not let.
    """
    operation = fields.text("config.operation")
    if operation is None:
        operation = OPERATIONS[0]
    if operation not in OPERATIONS and operation not in CHANGES:
        # Not a list of them: a name among them has a substring that H-22 forbids.
        raise wrong("config.operation", "an operation that this worker knows")
    if operation in CHANGES and not limits.admin_writes:
        raise wrong("config.operation", "one that changes nothing: this pod lets no queue do that")
    target = fields.text("config.target_worker")
    target = None if target is None else target.removesuffix("_worker")
    if target is not None and target not in TARGETS:
        raise wrong("config.target_worker", f"one of {', '.join(TARGETS)}")
    return AdminRequest(
        job_type=row.name,
        operation=operation,
        target=target,
        required_gb=fields.number("config.required_gb", low=0, high=MAX_GB),
        force=fields.flag("config.force") or False,
        reason=fields.text("config.reason"),
        recorded=read_recorded(fields),
    )


def read_messages(given: Found) -> tuple[Message, ...]:
    """The turns of a conversation, verbatim. The sentences of its errors are the contract's."""
    if not isinstance(given.value, list):
        raise RequestError("Messages must be an array", field=given.name)
    if not given.value:
        raise RequestError("No messages provided", field=given.name)
    if len(given.value) > MAX_MESSAGES:
        raise wrong(given.name, f"an array of 1 to {MAX_MESSAGES} messages")
    return tuple(_message(one, given.name) for one in given.value)


def read_model(fields: Fields, *names: str) -> Literal["instruct", "base"] | None:
    """The chat model named, whatever its case."""
    found = fields.find(*names)
    if found is None:
        return None
    model = MODELS.get(found.value.lower()) if isinstance(found.value, str) else None
    if model is None:
        raise wrong(found.name, "a chat model that this worker knows")
    return model


def read_sampling(
    fields: Fields, limits: Limits, *, max_tokens: int, levels: tuple[str, ...] = ("",)
) -> Sampling:
    """How tokens are drawn; each field is looked for on `levels`, in order of precedence."""

    def names(field: str) -> list[str]:
        return [f"{level}{field}" for level in levels]

    def number(field: str, low: float, high: float, *, above: bool = False) -> float | None:
        return fields.number(*names(field), low=low, high=high, above=above)

    seed = fields.integer(*names("seed"), low=-1, high=MAX_SEED)
    given = {
        "max_tokens": fields.integer(*names("max_tokens"), low=1, high=limits.max_output_tokens),
        "temperature": number("temperature", 0, 2),
        "top_p": number("top_p", 0, 1, above=True),
        "top_k": fields.integer(*names("top_k"), low=0, high=MAX_TOP_K),
        "frequency_penalty": number("frequency_penalty", -2, 2),
        "presence_penalty": number("presence_penalty", -2, 2),
        "repetition_penalty": number("repetition_penalty", 0.5, 2),
        "stop": _read_stop(fields, *names("stop")),
        "seed": None if seed == -1 else seed,
    }
    chosen = {"max_tokens": max_tokens} | {k: v for k, v in given.items() if v is not None}
    return msgspec.convert(chosen, Sampling)


def _user_turn(fields: Fields) -> tuple[Message, ...]:
    prompt = fields.text("prompt")
    if prompt is None:
        raise RequestError("No messages provided", field="messages")
    if prompt == "":
        raise InvalidPrompt("prompt is empty", field="prompt")
    return (Message(role="user", content=prompt),)


def _message(one: object, field: str) -> Message:
    if not isinstance(one, dict) or not isinstance(one.get("content"), str):
        raise RequestError("Invalid message format", field=field)
    if one.get("role") not in ROLES:
        raise RequestError("Invalid role", field=field)
    return Message(role=one["role"], content=one["content"])


def _read_stop(fields: Fields, *names: str) -> tuple[str, ...] | None:
    found = fields.find(*names)
    if found is None:
        return None
    texts = [found.value] if isinstance(found.value, str) else found.value
    if (
        not isinstance(texts, list)
        or len(texts) > MAX_STOPS
        or not all(isinstance(text, str) and text for text in texts)
    ):
        raise wrong(found.name, f"a text or up to {MAX_STOPS} texts, none of them empty")
    return tuple(texts)
