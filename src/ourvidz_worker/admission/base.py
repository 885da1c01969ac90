"""Admission: what may be refused before any work on it begins (contract P-6)."""

from collections.abc import Iterator, Sequence
from typing import Protocol

from ourvidz_worker.domain.request import ChatRequest, ImageRequest, Request, VideoRequest


class Policy(Protocol):
    """The port every policy implements. It keeps no state between calls.

    It runs in a thread, unless it has a `QUICK_CHARS`: texts of so many characters in all are
    judged at once, in the pod's loop, which must take less than a millisecond.
    """

    def judge(self, texts: Sequence[str], request: Request) -> None:
        """Return to let the request pass, raise `Refused` to refuse it.

        `texts` is every text that would reach a model, a negative prompt among them. Whatever
        else is raised counts as a broken policy, and the request does not pass.
        """
        ...


def texts_of(request: Request) -> Iterator[str]:
    """Every text of a request that would reach a model."""
    if isinstance(request, ChatRequest):
        yield from request.words()
    elif isinstance(request, ImageRequest):
        yield from _given(request.prompt, request.negative_prompt, request.weights)
    elif isinstance(request, VideoRequest):
        yield from _given(request.prompt, request.negative_prompt, request.enhancement_text)
        yield from (message.content for message in request.enhancement_messages)


def _given(*texts: str | None) -> Iterator[str]:
    return (text for text in texts if text)
