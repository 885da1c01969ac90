"""A prompt is extended openly, or left as it was, openly (W-3)."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from ourvidz_worker.domain.errors import ConfigError, OurvidzError, Refused, Unavailable
from ourvidz_worker.domain.request import ChatRequest, Message, Request, VideoRequest
from ourvidz_worker.domain.text_reply import TextReply
from ourvidz_worker.pod.enhancement import LIMIT_S, Enhancement
from ourvidz_worker.pod.enhancement_template import (
    EnhancementTemplate,
    parse_template,
    read_template,
)
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
MESSAGES = (Message(role="user", content="describe: a cat"),)


class Texts:
    """Answers every request with one text, or one error, after some seconds."""

    def __init__(self, answer: str | OurvidzError, clock: FakeClock, seconds: float = 0.0) -> None:
        self.answer = answer
        self.asked: list[ChatRequest] = []
        self._clock = clock
        self._seconds = seconds

    async def complete(self, request: ChatRequest) -> TextReply:
        self.asked.append(request)
        if self._seconds:
            await self._clock.sleep(self._seconds)
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


class Scene:
    """An enhancement, its texts and its clock."""

    def __init__(
        self,
        answer: str | OurvidzError,
        *,
        template: EnhancementTemplate | None = None,
        seconds: float = 0.0,
    ) -> None:
        self.clock = FakeClock()
        self.texts = Texts(answer, self.clock, seconds)
        self.enhancement = Enhancement(
            texts=self.texts, clock=self.clock, admit=admit, template=template
        )

    @property
    def asked(self) -> ChatRequest:
        return self.texts.asked[0]


async def test_without_instructions_the_base_model_is_given_the_prompt_verbatim() -> None:
    """W-3: the result is the prompt and its continuation up to the first line break."""
    scene = Scene(" on a mat\nThe end.")
    request, facts = await scene.enhancement.extend(REQUEST, 5)
    assert (scene.asked.text, scene.asked.messages, scene.asked.model) == ("a cat", (), "base")
    sampling = scene.asked.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_p) == (150, 0.7, 0.9)
    assert (request.prompt, request.extended_from) == ("a cat on a mat", "a cat")
    assert facts == {
        "enhancement_source": "qwen_base",
        "enhancement_mode": "continuation",
        "enhancement_applied": True,
        "original_prompt": "a cat",
        "enhanced_prompt": "a cat on a mat",
        "enhancement_time": 0.0,
    }


@pytest.mark.parametrize(
    "given", [{"enhancement_messages": MESSAGES}, {"enhancement_text": "describe: a cat\n\n"}]
)
async def test_the_jobs_own_instructions_go_first_and_are_never_echoed(
    given: dict[str, object],
) -> None:
    """W-3: job > operator > none."""
    scene = Scene("\n a tabby cat \n", template=EnhancementTemplate(text="op {prompt}"))
    asked = msgspec.structs.replace(REQUEST, **given)
    request, facts = await scene.enhancement.extend(asked, 5)
    assert (request.prompt, request.extended_from) == ("a tabby cat", "")
    assert facts["enhancement_mode"] == "job"
    assert scene.asked.messages == given.get("enhancement_messages", ())
    assert scene.asked.text == given.get("enhancement_text")


async def test_the_operators_instructions_hold_for_jobs_without_any() -> None:
    """W-3: the prompt takes its place, byte for byte, once."""
    prompt = "a {prompt} \n cat"
    asked = msgspec.structs.replace(REQUEST, prompt=prompt)
    raw = Scene("a tabby", template=EnhancementTemplate(text="More: {prompt} ->"))
    request, facts = await raw.enhancement.extend(asked, 5)
    assert raw.asked.text == "More: a {prompt} \n cat ->"
    assert (request.prompt, facts["enhancement_mode"]) == ("a tabby", "operator")
    messages = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="{prompt}"),
    )
    chat = Scene("a tabby", template=EnhancementTemplate(messages=messages))
    await chat.enhancement.extend(asked, 5)
    assert [one.content for one in chat.asked.messages] == ["Be brief.", prompt]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (Unavailable(), "WORKER_UNAVAILABLE"),
        ("", "GENERATION_ERROR"),
        ("  ", "GENERATION_ERROR"),
        ("\nThe end.", "GENERATION_ERROR"),
    ],
)
async def test_a_failure_leaves_the_prompt_and_says_so(
    answer: str | OurvidzError, code: str
) -> None:
    """W-3, P-4: the original prompt is never called a result."""
    request, facts = await Scene(answer).enhancement.extend(REQUEST, 5)
    assert request == REQUEST
    assert (facts["enhancement_applied"], facts["enhancement_error"]) == (False, code)
    assert "enhanced_prompt" not in facts
    assert facts["enhancement_time"] == 0.0


async def test_an_empty_prompt_has_nothing_to_be_continued() -> None:
    """W-3: such a job has a reference picture and no text."""
    scene = Scene("anything")
    asked = msgspec.structs.replace(REQUEST, prompt="")
    request, facts = await scene.enhancement.extend(asked, 5)
    assert (request, scene.texts.asked) == (asked, [])
    assert facts["enhancement_error"] == "INVALID_PROMPT"


async def test_no_prompt_is_extended_for_more_than_a_minute() -> None:
    """W-3: limit 60 s; then the original prompt."""
    scene = Scene(" on a mat", seconds=LIMIT_S + 1)
    task = asyncio.create_task(scene.enhancement.extend(REQUEST, 5))
    await scene.clock.advance(LIMIT_S)
    request, facts = await task
    assert (request.prompt, facts["enhancement_error"]) == ("a cat", "TIMEOUT_ERROR")
    assert facts["enhancement_time"] == LIMIT_S


@pytest.mark.parametrize("answer", [" forbidden", Refused()])
async def test_what_the_model_is_given_and_what_it_added_are_judged(
    answer: str | OurvidzError,
) -> None:
    """P-6: before any work on the device; a refusal is never just left out."""
    with pytest.raises(Refused):
        await Scene(answer).enhancement.extend(REQUEST, 5)


@pytest.mark.parametrize(
    ("text", "template"),
    [
        ("More: {prompt}\n", EnhancementTemplate(text="More: {prompt}\n")),
        (
            '[{"role":"user","content":"{prompt}!"}]',
            EnhancementTemplate(messages=(Message(role="user", content="{prompt}!"),)),
        ),
    ],
)
def test_a_template_file_has_two_forms(
    tmp_path: Path, text: str, template: EnhancementTemplate
) -> None:
    """W-3: `WAN_ENHANCEMENT_TEMPLATE`."""
    file = tmp_path / "template"
    file.write_text(text, encoding="utf-8")
    assert read_template(str(file)) == template
    assert read_template("") is None


@pytest.mark.parametrize(
    "text",
    [
        "no place for it",
        "[]",
        '[{"role":"user","content":"none"}]',
        '[{"role":"robot","content":"{prompt}"}]',
        '["{prompt}"]',
        "[{prompt}",
    ],
)
def test_a_malformed_template_stops_the_start(text: str) -> None:
    """W-3: refused at start, with the variable's name."""
    with pytest.raises(ConfigError, match="WAN_ENHANCEMENT_TEMPLATE"):
        parse_template(text)


@pytest.mark.parametrize("data", [None, b"\xff\xfe{prompt}", b"{prompt}" * 9000])
def test_a_template_that_cannot_be_read_stops_the_start(tmp_path: Path, data: bytes | None) -> None:
    """W-3: missing, not UTF-8, or too long."""
    file = tmp_path / "template"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(ConfigError, match="WAN_ENHANCEMENT_TEMPLATE"):
        read_template(str(file))
