"""Enhancement: the `_enhanced` video types have Qwen Base continue their prompt first (W-3)."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import msgspec

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.request import ChatRequest, Sampling, VideoRequest
from ourvidz_worker.domain.text_reply import TextReply

MAX_NEW_TOKENS, TEMPERATURE, TOP_P = 150, 0.7, 0.9
"""The contract's own figures for the continuation (W-3)."""


class Texts(Protocol):
    """Generates one text."""

    async def complete(self, request: ChatRequest) -> TextReply:
        """The whole reply to `request`."""
        ...


@dataclass(frozen=True, kw_only=True)
class Enhancement:
    """Extends prompts through the chat lane; a failure leaves the prompt as it was, openly."""

    texts: Texts
    clock: Clock
    admit: Callable[[VideoRequest], Awaitable[None]]

    async def extend(self, request: VideoRequest, seed: int) -> tuple[VideoRequest, Metadata]:
        """The request with its prompt extended, and what the callback says of it."""
        begun = self.clock.monotonic()
        facts: Metadata = {"enhancement_source": "qwen_base", "original_prompt": request.prompt}
        facts["enhancement_mode"] = "job" if self._instructed(request) else "continuation"
        try:
            reply = await self.texts.complete(self._question(request, seed))
        except OurvidzError as error:
            return request, facts | {"enhancement_applied": False, "enhancement_error": error.code}
        prompt = self._joined(request, reply.text)
        extended = msgspec.structs.replace(request, prompt=prompt)
        await self.admit(extended)
        return extended, facts | {
            "enhancement_applied": prompt != request.prompt,
            "enhanced_prompt": prompt,
            "enhancement_time": round(self.clock.monotonic() - begun, 3),
        }

    def _instructed(self, request: VideoRequest) -> bool:
        return bool(request.enhancement_messages) or request.enhancement_text is not None

    def _question(self, request: VideoRequest, seed: int) -> ChatRequest:
        text = None if request.enhancement_messages else request.enhancement_text
        if text is None and not request.enhancement_messages:
            text = request.prompt
        return ChatRequest(
            job_type=request.job_type,
            model="base",
            messages=request.enhancement_messages,
            text=text,
            sampling=Sampling(
                max_tokens=MAX_NEW_TOKENS, temperature=TEMPERATURE, top_p=TOP_P, seed=seed
            ),
        )

    def _joined(self, request: VideoRequest, continuation: str) -> str:
        """With instructions the answer replaces the prompt; without, its first line follows it."""
        if self._instructed(request):
            return continuation or request.prompt
        return (request.prompt + continuation.split("\n", 1)[0]).rstrip()
