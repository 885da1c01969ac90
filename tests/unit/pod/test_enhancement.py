"""A prompt is extended openly, or left as it was, openly (W-3)."""

import pytest

from ourvidz_worker.domain.errors import OurvidzError, Refused, Unavailable
from ourvidz_worker.domain.request import ChatRequest, Message, Request, VideoRequest
from ourvidz_worker.domain.text_reply import TextReply
from ourvidz_worker.pod.enhancement import Enhancement
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

REQUEST = VideoRequest(
    job_type="video7b_fast_enhanced",
    prompt="a cat",
    negative_prompt=None,
    steps=25,
    guidance=6.5,
    width=480,
    height=832,
    frames=81,
)


class Texts:
    """Answers every request with one text, or one error."""

    def __init__(self, answer: str | OurvidzError) -> None:
        self.answer = answer
        self.asked: list[ChatRequest] = []

    async def complete(self, request: ChatRequest) -> TextReply:
        self.asked.append(request)
        if isinstance(self.answer, OurvidzError):
            raise self.answer
        return TextReply(
            text=self.answer,
            tokens=1,
            prompt_tokens=1,
            finish_reason="stop",
            generation_s=0.1,
            model_name="m",
            active_model="base",
            effective={},
        )


async def admit(request: Request) -> None:
    if "forbidden" in getattr(request, "prompt", ""):
        raise Refused


def enhancement(texts: Texts) -> Enhancement:
    return Enhancement(texts=texts, clock=FakeClock(), admit=admit)


async def test_without_instructions_the_base_model_is_given_the_prompt_verbatim() -> None:
    texts = Texts(" on a mat\nThe end.")
    request, facts = await enhancement(texts).extend(REQUEST, 5)
    assert (texts.asked[0].text, texts.asked[0].messages) == ("a cat", ())
    assert (texts.asked[0].model, texts.asked[0].sampling.max_tokens) == ("base", 150)
    assert request.prompt == "a cat on a mat"
    assert facts["enhanced_prompt"] == "a cat on a mat"
    assert (facts["enhancement_applied"], facts["enhancement_mode"]) == (True, "continuation")


async def test_the_jobs_own_instructions_are_used_and_never_echoed() -> None:
    texts = Texts("a tabby cat")
    asked = VideoRequest(
        **{name: getattr(REQUEST, name) for name in REQUEST.__struct_fields__}
        | {"enhancement_messages": (Message(role="user", content="describe: a cat"),)}
    )
    request, facts = await enhancement(texts).extend(asked, 5)
    assert request.prompt == "a tabby cat"
    assert facts["enhancement_mode"] == "job"
    assert texts.asked[0].text is None


async def test_a_failure_leaves_the_prompt_and_says_so() -> None:
    request, facts = await enhancement(Texts(Unavailable())).extend(REQUEST, 5)
    assert request.prompt == "a cat"
    assert (facts["enhancement_applied"], facts["enhancement_error"]) == (
        False,
        "WORKER_UNAVAILABLE",
    )


async def test_an_empty_continuation_is_not_called_applied() -> None:
    request, facts = await enhancement(Texts("")).extend(REQUEST, 5)
    assert (request.prompt, facts["enhancement_applied"]) == ("a cat", False)


async def test_what_the_model_added_is_judged_too() -> None:
    with pytest.raises(Refused):
        await enhancement(Texts(" forbidden")).extend(REQUEST, 5)
