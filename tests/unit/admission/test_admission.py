"""Admission as a whole: order, operators' policies, broken ones, and what policies are shown."""

import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from ourvidz_worker.admission import Admission, make_admission, texts_of
from ourvidz_worker.domain.errors import ConfigError, Refused, Unavailable
from ourvidz_worker.domain.request import (
    AdminRequest,
    ChatRequest,
    ImageRequest,
    Message,
    Request,
    Sampling,
    ToolCall,
    VideoRequest,
)

pytestmark = pytest.mark.anyio

CHAT = ChatRequest(
    job_type="chat_conversation",
    sampling=Sampling(),
    messages=(Message(role="system", content="s"), Message(role="user", content="secret words")),
)
CALLING = ChatRequest(
    job_type="chat_conversation",
    sampling=Sampling(),
    messages=(
        Message(
            role="assistant",
            content="a",
            tool_calls=(ToolCall(name="look", arguments=r'{"k": "\u00e9"}'),),
        ),
        Message(role="tool", content="r"),
    ),
    tools=(r'{"function": {"description": "caf\u00e9"}}',),
)
IMAGE = ImageRequest(
    job_type="sdxl_image_fast",
    prompt="p",
    negative_prompt="n",
    steps=1,
    guidance=1,
    width=256,
    height=256,
    weights="w",
    reference="user-library/u1/a.png",
)
VIDEO = VideoRequest(
    job_type="video7b_fast_enhanced",
    prompt="p",
    negative_prompt="n",
    steps=1,
    guidance=1,
    width=256,
    height=256,
    frames=5,
    enhancement_text="t",
    enhancement_messages=(Message(role="user", content="m"),),
)


class Noting:
    """Lets everything pass and keeps what it was shown."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []

    def judge(self, texts: Sequence[str], request: Request) -> None:
        self.seen.append(tuple(texts))


class Refusing:
    """Lets nothing pass."""

    def judge(self, texts: Sequence[str], request: Request) -> None:
        raise Refused


class Breaking:
    """Breaks, and quotes what it read."""

    def judge(self, texts: Sequence[str], request: Request) -> None:
        raise ValueError(f"cannot read {texts}")


class NoSilence(Noting):
    """An operator's own: refuses a request without any text."""

    def judge(self, texts: Sequence[str], request: Request) -> None:
        if not texts:
            raise Refused


@pytest.fixture
def operators_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of an operator's own, on the path."""
    source = """
from ourvidz_worker.domain.errors import Refused
class Policy:
    def judge(self, texts, request):
        raise Refused
"""
    (tmp_path / "operators_rules.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    return "operators_rules"


@pytest.mark.parametrize(
    ("request_", "texts"),
    [
        (CHAT, ["s", "secret words"]),
        (ChatRequest(job_type="x", sampling=Sampling(), text="raw"), ["raw"]),
        (
            CALLING,
            ['{"function":{"description":"café"}}', "a", "look", '{"k":"é"}', "r"],
        ),
        (IMAGE, ["p", "n", "w"]),
        (VIDEO, ["p", "n", "t", "m"]),
        (AdminRequest(job_type="admin_utilities"), []),
    ],
)
def test_policies_see_every_text_that_reaches_a_model(request_: Request, texts: list[str]) -> None:
    assert list(texts_of(request_)) == texts


async def test_every_policy_is_asked_until_one_refuses() -> None:
    first, last = Noting(), Noting()
    await Admission([first, last]).admit(IMAGE)
    assert first.seen == last.seen == [("p", "n", "w")]
    with pytest.raises(Refused):
        await Admission([first, Refusing(), last]).admit(IMAGE)
    assert (len(first.seen), len(last.seen)) == (2, 1)


async def test_short_texts_are_judged_at_once_where_a_policy_is_quick() -> None:
    class Quick(Noting):
        QUICK_CHARS = 12

        def judge(self, texts: Sequence[str], request: Request) -> None:
            super().judge((threading.current_thread().name,), request)

    policy = Quick()
    for words in ("short words", "longer words than those"):
        request = ChatRequest(job_type="x", sampling=Sampling(), text=words)
        await Admission([policy]).admit(request)
    here = threading.current_thread().name
    assert [name == here for (name,) in policy.seen] == [True, False]


async def test_a_policy_that_breaks_is_no_pass(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), pytest.raises(Unavailable) as caught:
        await Admission([Breaking(), Noting()]).admit(CHAT)
    assert (caught.value.code, caught.value.may_retry) == ("WORKER_UNAVAILABLE", True)
    (record,) = caplog.records
    assert vars(record)["policy"] == "Breaking"
    assert "secret" not in caplog.text + caught.value.sentence


async def test_the_built_in_policy_comes_first_whatever_is_named() -> None:
    bad = ImageRequest(
        job_type="x",
        prompt="nude child",
        negative_prompt=None,
        steps=1,
        guidance=1,
        width=256,
        height=256,
    )
    for names in ([], ["minors"], [f"{__name__}:NoSilence"]):
        with pytest.raises(Refused):
            await make_admission(names).admit(bad)
        await make_admission(names).admit(IMAGE)


async def test_an_operators_policy_is_loaded_by_its_place(
    operators_module: str,
) -> None:
    with pytest.raises(Refused):
        await make_admission([f"{operators_module}:Policy"]).admit(IMAGE)


@pytest.mark.parametrize("name", ["nothing", "no.such.module:X", "json:NoSuchThing", ":", "json:"])
def test_a_name_that_leads_nowhere_stops_the_start(name: str) -> None:
    with pytest.raises(ConfigError):
        make_admission([name])
