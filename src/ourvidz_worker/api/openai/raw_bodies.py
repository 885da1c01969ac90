"""The body of `/v1/completions`: raw texts to be continued, without any template (T-6)."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

from ourvidz_worker.api.bodies import JsonObject, decode
from ourvidz_worker.api.openai.fields import (
    MOST_CHOICES,
    CompletionFields,
    Likeliest,
    attempts,
    model_of,
    refuse_others,
)
from ourvidz_worker.api.text_bodies import ENHANCE_TYPE, Model, recorded, sampling_of
from ourvidz_worker.domain.errors import InvalidPrompt, RequestError
from ourvidz_worker.domain.request import ChatRequest, Sampling

DEFAULT_MODEL = "qwen_base"
DEFAULT_TOKENS = 16

#: Fields that would change the answer, with the values that do not.
HARMLESS: Mapping[str, tuple[bytes, ...]] = {
    "echo": (b"false",),
    "suffix": (b'""',),
    "logit_bias": (b"{}",),
}

PROMPT_RULE = "a string or strings; token ids are not taken"


class CompletionBody(CompletionFields, frozen=True, kw_only=True):
    """Raw texts to be continued; further fields of OpenAI's are tolerated."""

    prompt: Annotated[str | list[str], Meta(description=PROMPT_RULE)] | None = None
    logprobs: Likeliest | None = None
    best_of: Annotated[int, Meta(description="equal to n")] | None = None


class CompletionOrder(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded body: a request for each text, in groups of `each` for one prompt."""

    requests: tuple[ChatRequest, ...]
    each: int
    model: str
    stream: bool
    include_usage: bool

    @property
    def tells_chances(self) -> bool:
        """True when the reply tells how likely its tokens were."""
        return self.requests[0].sampling.logprobs is not None


def decode_completion(
    body: JsonObject, most_tokens: int, known: Mapping[str, Model]
) -> CompletionOrder:
    """A body; `known` are the models' own names, in lower case. Raises `RequestError`."""
    asked = decode(body.raw, CompletionBody)
    refuse_others(body, HARMLESS)
    each = asked.n or 1
    if asked.best_of not in {None, each}:
        raise RequestError("The field best_of must equal n: none is left out.", field="best_of")
    prompts = _prompts(asked)
    if len(prompts) * each > MOST_CHOICES:
        raise RequestError(
            f"At most {MOST_CHOICES} texts are written at once: prompts times n.", field="n"
        )
    model = model_of(asked.model, DEFAULT_MODEL, known)
    sampling = _sampling(asked, most_tokens)
    requests = [
        attempt
        for prompt in prompts
        for attempt in attempts(
            ChatRequest(
                job_type=ENHANCE_TYPE,
                model=model,
                text=prompt,
                sampling=sampling,
                recorded=recorded(body.fields),
            ),
            each,
        )
    ]
    return CompletionOrder(
        requests=tuple(requests),
        each=each,
        model=asked.model or DEFAULT_MODEL,
        stream=bool(asked.stream),
        include_usage=asked.include_usage,
    )


def _prompts(asked: CompletionBody) -> list[str]:
    prompts = [asked.prompt] if isinstance(asked.prompt, str) else asked.prompt
    if not prompts:
        raise RequestError(f"The field prompt must be {PROMPT_RULE}.", field="prompt")
    if not all(prompts):
        raise InvalidPrompt("The prompt must not be empty.", field="prompt")
    return prompts


def _sampling(asked: CompletionBody, most_tokens: int) -> Sampling:
    sampling = sampling_of(asked, DEFAULT_TOKENS, most_tokens, "max_tokens")
    return msgspec.structs.replace(sampling, logprobs=asked.logprobs)
