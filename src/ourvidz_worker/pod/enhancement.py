"""Enhancement: the `_enhanced` video types have Qwen Base extend their prompt first (W-3)."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec

from ourvidz_worker.clock import Clock, within
from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import (
    AttemptError,
    DeadlinePassed,
    InvalidPrompt,
    OurvidzError,
    Refused,
)
from ourvidz_worker.domain.request import ChatRequest, Message, Sampling, VideoRequest
from ourvidz_worker.domain.text_reply import TextReply
from ourvidz_worker.pod.enhancement_template import EnhancementTemplate

MAX_NEW_TOKENS, TEMPERATURE, TOP_P = 150, 0.7, 0.9
"""The contract's own figures for the continuation (W-3)."""

LIMIT_S = 60.0
"""Longer than this no prompt is extended (W-3)."""


class Texts(Protocol):
    """Generates one text."""

    def complete(self, request: ChatRequest) -> Coroutine[object, object, TextReply]:
        """The whole reply to `request`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Enhancement:
    """Extends prompts through the chat lane; a failure leaves the prompt as it was, openly."""

    texts: Texts
    clock: Clock
    admit: Callable[[VideoRequest], Awaitable[None]]
    template: EnhancementTemplate | None = None
    """The operator's instructions, for jobs that bring none."""

    async def extend(self, request: VideoRequest, seed: int) -> tuple[VideoRequest, Metadata]:
        """The request with its prompt extended, and what the callback says of it.

        Raises `Refused`: a text that no policy lets pass is never just left out.
        """
        begun = self.clock.monotonic()
        question = _question_of(request, self.template)
        facts: Metadata = {
            "enhancement_source": "qwen_base",
            "enhancement_mode": question.mode,
            "original_prompt": request.prompt,
        }
        if question.text == "":
            return request, facts | self._failed(InvalidPrompt.code, begun)  # nothing to continue
        try:
            answer = await self._answer(question, request.job_type, seed)
        except Refused:
            raise
        except OurvidzError as error:
            return request, facts | self._failed(error.code, begun)
        if not answer:
            return request, facts | self._failed(AttemptError.code, begun)
        extended = _extended(request, question, answer)
        await self.admit(extended)
        return extended, facts | {
            "enhancement_applied": True,
            "enhanced_prompt": extended.prompt,
            "enhancement_time": self._since(begun),
        }

    async def _answer(self, question: "_Question", job_type: str, seed: int) -> str:
        """What the model adds, without the white space around it that nobody asked for."""
        request = ChatRequest(
            job_type=job_type,
            model="base",
            messages=question.messages,
            text=question.text,
            sampling=Sampling(
                max_tokens=MAX_NEW_TOKENS, temperature=TEMPERATURE, top_p=TOP_P, seed=seed
            ),
        )
        try:
            reply = await within(self.clock, LIMIT_S, self.texts.complete(request))
        except TimeoutError as error:
            raise DeadlinePassed from error
        if question.mode == "continuation":
            line = reply.text.split("\n", 1)[0].rstrip()
            return line if line.strip() else ""
        return reply.text.strip()

    def _failed(self, code: str, begun: float) -> Metadata:
        return {
            "enhancement_applied": False,
            "enhancement_error": code,
            "enhancement_time": self._since(begun),
        }

    def _since(self, begun: float) -> float:
        return round(self.clock.monotonic() - begun, 3)


class _Question(NamedTuple):
    """What the model is given, and by whose instructions: `job`, `operator`, or nobody's."""

    mode: str
    messages: tuple[Message, ...] = ()
    text: str | None = None


def _question_of(request: VideoRequest, template: EnhancementTemplate | None) -> _Question:
    """The job's own instructions go before the operator's; without any, the prompt verbatim."""
    if request.enhancement_messages:
        return _Question("job", messages=request.enhancement_messages)
    if request.enhancement_text is not None:
        return _Question("job", text=request.enhancement_text)
    if template is not None:
        messages = template.filled_messages(request.prompt)
        return _Question("operator", messages=messages, text=template.filled_text(request.prompt))
    return _Question("continuation", text=request.prompt)


def _extended(request: VideoRequest, question: _Question, answer: str) -> VideoRequest:
    """With instructions the answer is the prompt; without, it follows the prompt."""
    begins = request.prompt if question.mode == "continuation" else ""
    return msgspec.structs.replace(request, prompt=begins + answer, extended_from=begins)
