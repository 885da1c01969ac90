"""Through the queue: every job type that has a text written, and those that have none."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.contract.purity.conftest import Family, running
from tests.contract.purity.forms import BEGINNINGS, CONVERSATIONS, FLAGS, FORGED, UNICODE, turn
from tests.contract.purity.words import Piece, Turn, chatml, raw, sampling

from ourvidz_worker.domain.job_types import JOB_TYPES

CHATS = {"chat_enhance": 200, "chat_conversation": 512, "chat_unrestricted": 512}
"""What each answers a conversation with at most (3.6)."""

EXTENDED = (
    "image7b_fast_enhanced", "image7b_high_enhanced",
    "video7b_fast_enhanced", "video7b_high_enhanced",
)  # fmt: skip
WITHOUT_TEXT = ("image_fast", "image_high", "video_fast", "video_high", "admin_utilities")
ELSEWHERE = ("sdxl_image_fast", "sdxl_image_high")
"""Of a lane that these pods do not serve."""

SEED = 9
PROMPT = f"{FORGED} a red apple {UNICODE}"

INSTRUCTIONS = [turn("system", "Extend {prompt}."), turn("user", PROMPT), turn("assistant", "So: ")]

OPERATORS_TURNS = [
    turn("system", "Write more of it. <|im_end|>"),
    turn("user", "{prompt} and {prompt}"),
]
OPERATORS_TEXT = "  Prompt: {prompt}\nLonger <|im_end|>: "


@pytest.fixture(scope="module")
def with_turns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """A pod whose operator has written a conversation for extended prompts."""
    folder = tmp_path_factory.mktemp("turns")
    yield from with_template(folder, json.dumps(OPERATORS_TURNS))


@pytest.fixture(scope="module")
def with_text(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    """A pod whose operator has written a raw beginning for extended prompts."""
    yield from with_template(tmp_path_factory.mktemp("text"), OPERATORS_TEXT)


def with_template(folder: Path, text: str) -> Iterator[Family]:
    """A pod with this template file."""
    file = folder / "template"
    file.write_text(text, encoding="utf-8")
    yield from running(folder, "qwen", WAN_ENHANCEMENT_TEMPLATE=str(file))


def completed(family: Family, job: dict[str, Any]) -> dict[str, Any]:
    """The view of a job that ends well."""
    family.pod.passed()
    view = family.pod.work(job)
    assert view["status"] == "completed", view
    return view


def check(family: Family, model: str, pieces: list[Piece], **asked: Any) -> None:  # noqa: ANN401
    """One model was asked once, for these pieces, with this sampling."""
    ((name, given),) = family.pod.passed()
    assert name == model
    family.words(name).check(given.ids, pieces)
    assert given.sampling == sampling(**asked)


def check_extended(family: Family, pieces: list[Piece]) -> None:
    """Base was asked once, for these pieces, with W-3's own figures and the job's seed."""
    ((name, given),) = family.pod.passed()
    assert (name, given.seed) == ("base", SEED)
    family.base.check(given.ids, pieces)
    assert given.sampling == sampling(150, temperature=0.7, top_p=0.9, seed=SEED)


def test_every_job_type_is_looked_at() -> None:
    """P-1: a new type has to be placed here."""
    assert set(JOB_TYPES) == {*CHATS, *EXTENDED, *WITHOUT_TEXT, *ELSEWHERE}


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
@pytest.mark.parametrize("kind", CHATS)
def test_a_chat_job_is_the_caller_s_turns_alone(
    family: Family, kind: str, turns: list[Turn]
) -> None:
    """P-1, T-2, 3.6: the turns verbatim, the table's sampling, no turn of ours."""
    completed(family, {"type": kind, "messages": turns})
    check(family, "instruct", chatml(turns), max_tokens=CHATS[kind])


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize("prompt", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_a_prompt_is_one_user_turn(family: Family, kind: str, prompt: str) -> None:
    """3.6, 3.3: byte for byte."""
    completed(family, {"type": kind, "prompt": prompt})
    check(family, "instruct", chatml([turn("user", prompt)]), max_tokens=CHATS[kind])


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize("level", ["config", "metadata"])
def test_turns_may_lie_deeper(family: Family, kind: str, level: str) -> None:
    """3.6: and a prompt beside them is not told."""
    turns = CONVERSATIONS["forged"]
    completed(family, {"type": kind, level: {"messages": turns}, "prompt": "never told"})
    check(family, "instruct", chatml(turns), max_tokens=CHATS[kind])


@pytest.mark.parametrize("kind", CHATS)
def test_sampling_of_a_chat_job_is_what_it_gave(family: Family, kind: str) -> None:
    """J-1, T-1: from `config`, then from the top level, then from the table."""
    asked: dict[str, Any] = {
        "max_tokens": 7, "temperature": 1.25, "top_p": 0.5, "top_k": 11, "seed": 0,
        "frequency_penalty": 0.6, "presence_penalty": -0.4, "repetition_penalty": 1.3,
        "stop": ["END"],
    }  # fmt: skip
    job = {"type": kind, "prompt": "a red apple"}
    pieces = chatml([turn("user", "a red apple")])
    for given in (asked, *({name: each} for name, each in asked.items())):
        expected = {"max_tokens": CHATS[kind]} | given
        expected["stop"] = tuple(expected.get("stop", ()))
        for where in ({"config": given}, given):
            completed(family, job | where)
            check(family, "instruct", pieces, **expected)
    both = {"max_tokens": 9, "temperature": 0.2, "config": {"temperature": 1.25}}
    completed(family, job | both)
    check(family, "instruct", pieces, max_tokens=9, temperature=1.25)


@pytest.mark.parametrize("kind", CHATS)
def test_flags_of_a_chat_job_change_nothing(family: Family, kind: str) -> None:
    """P-5: `chat_unrestricted` and every flag are recorded, and no more."""
    job = {"type": kind, "prompt": "a red apple", "config": {"seed": 3}}
    completed(family, job)
    ((_, plain),) = family.pod.passed()
    completed(family, {**FLAGS, **job, "metadata": FLAGS, "config": {"seed": 3, **FLAGS}})
    ((_, flagged),) = family.pod.passed()
    assert (flagged.ids, flagged.sampling) == (plain.ids, plain.sampling)


@pytest.mark.parametrize("seed", [0, 3])
def test_the_seed_of_a_chat_job_is_the_one_used(qwen: Family, seed: int) -> None:
    """J-1, P-2: as over HTTP, and 0 is a seed."""
    job = {"type": "chat_conversation", "prompt": "a red apple", "config": {"seed": seed}}
    completed(qwen, job)
    ((_, given),) = qwen.pod.passed()
    assert given.seed == seed


def test_base_answers_a_chat_job_as_instruct_does(qwen: Family) -> None:
    """T-2, 3.6: no turn of ours for Base either."""
    turns = CONVERSATIONS["assistant first"]
    completed(qwen, {"type": "chat_conversation", "messages": turns, "model": "qwen_base"})
    check(qwen, "base", chatml(turns), max_tokens=512)


@pytest.mark.parametrize("kind", EXTENDED)
@pytest.mark.parametrize("prompt", BEGINNINGS.values(), ids=BEGINNINGS.keys())
def test_a_prompt_is_continued_as_it_is(family: Family, kind: str, prompt: str) -> None:
    """W-3, P-1: without instructions Base gets the prompt verbatim, and no template."""
    view = completed(family, {"type": kind, "prompt": prompt, "config": {"seed": SEED}})
    check_extended(family, raw(prompt, beginning=family.beginning))
    told = view["metadata"]
    assert told["original_prompt"] == prompt
    assert (told.get("enhanced_prompt") or prompt).startswith(prompt)


@pytest.mark.parametrize("kind", EXTENDED)
def test_a_job_s_own_instructions_are_told_alone(qwen: Family, kind: str) -> None:
    """W-3: as a conversation or as a raw text; the prompt is not added to either."""
    for name, given, pieces in (
        ("enhancement_messages", INSTRUCTIONS, chatml(INSTRUCTIONS)),
        ("enhancement_inputs", PROMPT, raw(PROMPT)),
    ):
        config = {"seed": SEED, name: given}
        view = completed(qwen, {"type": kind, "prompt": "a cat", "config": config})
        check_extended(qwen, pieces)
        enhanced = view["metadata"].get("enhanced_prompt", "")
        assert "apple" not in enhanced, "instructions are not part of the prompt"


@pytest.mark.parametrize("kind", EXTENDED)
def test_the_operator_s_template_is_told_as_written(
    with_turns: Family, with_text: Family, kind: str
) -> None:
    """W-3: the file's own words, the prompt in its places, control look-alikes plain."""
    filled = [turn(t["role"], t["content"].replace("{prompt}", PROMPT)) for t in OPERATORS_TURNS]
    job = {"type": kind, "prompt": PROMPT, "config": {"seed": SEED}}
    completed(with_turns, job)
    check_extended(with_turns, chatml(filled))
    completed(with_text, job)
    check_extended(with_text, raw(OPERATORS_TEXT.replace("{prompt}", PROMPT)))


@pytest.mark.parametrize("kind", EXTENDED)
def test_a_job_s_instructions_go_before_the_operator_s(with_turns: Family, kind: str) -> None:
    """W-3: nothing of the operator's is mixed in."""
    job = {"type": kind, "prompt": "a cat", "config": {"seed": SEED, "enhancement_inputs": "Then "}}
    completed(with_turns, job)
    check_extended(with_turns, raw("Then "))


def test_the_operator_s_template_is_for_extended_prompts_alone(with_turns: Family) -> None:
    """P-1: no chat job and no call over HTTP sees it."""
    turns = CONVERSATIONS["user alone"]
    completed(with_turns, {"type": "chat_enhance", "messages": turns})
    check(with_turns, "instruct", chatml(turns), max_tokens=200)
    for path, body, pieces in (
        ("/enhance", {"messages": turns}, chatml(turns)),
        ("/enhance", {"prompt": "a cat"}, raw("a cat")),
        ("/generate", {"inputs": "a cat"}, raw("a cat")),
    ):
        with_turns.pod.call(path, body)
        ((name, given),) = with_turns.pod.passed()
        with_turns.words(name).check(given.ids, pieces)


@pytest.mark.parametrize("kind", WITHOUT_TEXT)
def test_other_jobs_ask_no_text_model(family: Family, kind: str) -> None:
    """P-1: a prompt that nobody wants extended is not; instructions beside it change nothing."""
    config = {"enhancement_inputs": "never told", "enhancement_messages": INSTRUCTIONS}
    completed(family, {"type": kind, "prompt": "a red apple"})
    completed(family, {"type": kind, "prompt": "a red apple", "config": config})
    assert family.pod.passed() == []
