"""Over HTTP: what a text engine is given is the caller's text and the markers, and nothing else."""

from typing import Any

import pytest
from tests.contract.purity.conftest import Family
from tests.contract.purity.forms import (
    ALL,
    BEGINNINGS,
    COMPLETIONS,
    CONVERSATIONS,
    FLAGS,
    RAW_COMPLETIONS,
    RAWS,
    TALKS,
    Form,
    turn,
)
from tests.contract.purity.published import PERSONAS
from tests.contract.purity.words import Piece, Turn, chatml, raw, sampling

from ourvidz_worker.testing.door import Given

GIVEN: dict[str, Any] = {
    "max_tokens": 7,
    "temperature": 1.25,
    "top_p": 0.5,
    "top_k": 11,
    "frequency_penalty": 0.6,
    "presence_penalty": -0.4,
    "repetition_penalty": 1.3,
    "stop": ["END", "\n\n"],
    "seed": 12345,
}
"""Every sampling field, none with its default."""

HELLO = [turn("user", "hello world")]


def words_for(form: Form) -> object:
    """Something that the form can be asked about."""
    return HELLO if form in TALKS else "hello world"


def check(family: Family, form: Form, pieces: list[Piece], model: str = "") -> None:
    """The model alone was asked, as often as the form says, for these pieces alone."""
    passed = family.pod.passed()
    assert [name for name, _ in passed] == [model or form.model] * form.texts
    for name, given in passed:
        family.words(name).check(given.ids, pieces)


def passed_in_order(family: Family) -> list[tuple[str, Given]]:
    """What has passed, by seed."""
    return sorted(family.pod.passed(), key=lambda named: named[1].seed)


@pytest.mark.parametrize("turns", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
@pytest.mark.parametrize("form", TALKS, ids=str)
def test_a_conversation_is_the_caller_s_turns_alone(
    family: Family, form: Form, turns: list[Turn]
) -> None:
    """P-1, T-2: each turn verbatim in its order, the assistant's header, no turn of ours."""
    reply = family.pod.call(form.path, form.body(turns))
    check(family, form, chatml(turns))
    assert not any(persona in reply.text for persona in PERSONAS)


@pytest.mark.parametrize("text", BEGINNINGS.values(), ids=BEGINNINGS.keys())
@pytest.mark.parametrize("form", RAWS, ids=str)
def test_a_raw_text_has_no_template(family: Family, form: Form, text: str) -> None:
    """P-1, T-6, T-7: the text itself, behind nothing but the mark that the tokenizer begins with.

    `<|im_start|>` is such a mark by name in SmolLM2's tokenizer, which never puts it there.
    """
    family.pod.call(form.path, form.body(text))
    check(family, form, raw(text, beginning=family.beginning))
    family.pod.call(form.path, form.body(text) | {"model": "qwen_instruct"})
    is_turn = form.path == "/enhance"  # the one form that Instruct answers (T-7)
    check(family, form, chatml([turn("user", text)]) if is_turn else raw(text), "instruct")


def test_base_takes_conversations_as_instruct_does(qwen: Family) -> None:
    """T-2: the same rendering, whichever model is asked."""
    for form in TALKS:
        for turns in (CONVERSATIONS["forged"], CONVERSATIONS["user alone"]):
            qwen.pod.call(form.path, form.body(turns) | {"model": "Qwen2.5-7B"})
            check(qwen, form, chatml(turns), "base")


def test_several_raw_texts_are_kept_apart(family: Family) -> None:
    """P-1, T-6: each by itself, as often as `n` says."""
    texts = [BEGINNINGS["forged"], "second"]
    family.pod.call("/v1/completions", {"prompt": texts, "n": 2, "seed": 5})
    passed = [given for _, given in family.pod.passed()]
    for text, seed in ((text, seed) for text in texts for seed in (5, 6)):
        expected = family.base.ids(raw(text, beginning=family.beginning))
        (found,) = [each for each in passed if each.seed == seed and list(each.ids) == expected]
        family.base.check(found.ids, raw(text, beginning=family.beginning))
    assert len(passed) == 4


@pytest.mark.parametrize("form", ALL, ids=str)
def test_sampling_is_the_contract_s_table(family: Family, form: Form) -> None:
    """T-1: of the model's own generation configuration nothing shows, whatever the form."""
    family.pod.call(form.path, form.body(words_for(form)))
    passed = [given for _, given in family.pod.passed()]
    assert [each.sampling for each in passed] == [sampling(form.max_tokens)] * form.texts
    assert len({each.seed for each in passed}) == form.texts, "every text has a seed of its own"


@pytest.mark.parametrize("form", ALL, ids=str)
def test_sampling_is_what_the_caller_gave(family: Family, form: Form) -> None:
    """T-1, P-2: each field as given, alone and all together; seeds count up from the one given."""
    fields = {name: each for name, each in GIVEN.items() if name not in form.lacks}
    for asked in (fields, *({name: each} for name, each in fields.items())):
        family.pod.call(form.path, form.body(words_for(form), **asked))
        expected = {"max_tokens": form.max_tokens} | asked
        expected["stop"] = tuple(expected.get("stop", ()))
        passed = [given for _, given in family.pod.passed()]
        if "seed" in asked:
            seeds = [asked["seed"] + number for number in range(form.texts)]
            assert sorted(each.seed for each in passed) == seeds
        for each in passed:
            own = expected | ({"seed": each.seed} if "seed" in asked else {})
            assert each.sampling == sampling(**own)


@pytest.mark.parametrize("form", ALL, ids=str)
def test_the_bounds_of_sampling_pass_unchanged(family: Family, form: Form) -> None:
    """P-2, T-1: nothing is clamped at the ends of the ranges."""
    bounds: dict[str, tuple[float, float]] = {
        "max_tokens": (1, 1000),
        "temperature": (0, 2),
        "top_p": (0.0001, 1),
        "top_k": (0, 1_000_000),
        "frequency_penalty": (-2, 2),
        "presence_penalty": (-2, 2),
        "repetition_penalty": (0.5, 2),
    }
    for end in (0, 1):
        asked: dict[str, Any] = {
            name: each[end] for name, each in bounds.items() if name not in form.lacks
        }
        family.pod.call(form.path, form.body(words_for(form), **asked))
        for _, given in family.pod.passed():
            assert given.sampling == sampling(**asked)


@pytest.mark.parametrize("form", ALL, ids=str)
def test_the_other_port_tells_the_same(family: Family, form: Form) -> None:
    """H-2, T-2: whichever port is called."""
    body = form.body(words_for(form), seed=3)
    family.pod.call(form.path, body)
    chat = passed_in_order(family)
    family.pod.call(form.path, body, side="wan")
    assert passed_in_order(family) == chat
    assert len(chat) == form.texts


@pytest.mark.parametrize(
    ("path", "asked", "expected"),
    [
        (COMPLETIONS, {"logprobs": True}, {"logprobs": 0}),
        (COMPLETIONS, {"logprobs": True, "top_logprobs": 20}, {"logprobs": 20}),
        (COMPLETIONS, {"logprobs": False}, {}),
        (COMPLETIONS, {"max_completion_tokens": 9, "max_tokens": 5}, {"max_tokens": 9}),
        (RAW_COMPLETIONS, {"logprobs": 3}, {"logprobs": 3}),
        (RAW_COMPLETIONS, {"stop": "one"}, {"stop": ("one",)}),
    ],
)
def test_openai_s_own_fields(
    family: Family, path: str, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    """2.4, T-1: chances are asked for, and nothing else changes."""
    is_chat = path == COMPLETIONS
    words = {"messages": HELLO} if is_chat else {"prompt": "hello world"}
    family.pod.call(path, words | asked)
    ((_, given),) = family.pod.passed()
    assert given.sampling == sampling(**{"max_tokens": 512 if is_chat else 16} | expected)


def test_do_sample_false_is_greedy_and_no_more(family: Family) -> None:
    """T-6: `do_sample:false` is temperature 0; true leaves the temperature as it is."""
    for asked, temperature in (
        ({"do_sample": False}, 0.0),
        ({"do_sample": False, "temperature": 1.5}, 0.0),
        ({"do_sample": True, "temperature": 1.5}, 1.5),
        ({"do_sample": True}, 0.7),
    ):
        family.pod.call("/generate", {"inputs": "a red apple", "parameters": asked})
        ((_, given),) = family.pod.passed()
        assert given.sampling == sampling(200, temperature=temperature)


@pytest.mark.parametrize("form", ALL, ids=str)
def test_flags_change_nothing_at_the_door(family: Family, form: Form) -> None:
    """P-5: neither prompt nor sampling nor seed."""
    body = form.body(words_for(form), seed=3)
    family.pod.call(form.path, body)
    plain = passed_in_order(family)
    assert len(plain) == form.texts
    for flags in (FLAGS, *({name: each} for name, each in FLAGS.items())):
        family.pod.call(form.path, {**flags, **body})
        assert passed_in_order(family) == plain


@pytest.mark.parametrize("form", TALKS, ids=str)
def test_the_oldest_turns_go_whole_and_only_when_asked(family: Family, form: Form) -> None:
    """T-3, P-3: never a system turn, never the last user turn, never a part of one."""
    context = 2048
    turns = [turn("assistant", "yes?"), turn("system", "be brief"), turn("user", "hello")]
    turns += [turn("user", "the question"), turn("system", "go on")]
    turns += [turn("assistant", f"{number} {'word ' * 150}") for number in range(10)]
    whole = len(family.instruct.ids(chatml(turns)))
    assert whole > context
    refused = family.pod.call(form.path, form.body(turns, max_tokens=100), status=422)
    assert str(whole) in refused.text
    assert family.pod.passed() == [], "what is refused is not fed"
    if form.path != "/v1/chat/completions":
        assert refused.json()["code"] == "INVALID_PROMPT"
    kept = [turns[1], *turns[3:]]  # the first answer and the first question go first
    while len(family.instruct.ids(chatml(kept))) + 100 > context:
        kept = [*kept[:3], *kept[4:]]
    assert len(kept) in range(5, 13)
    family.pod.call(form.path, form.body(turns, max_tokens=100) | {"truncate": "oldest"})
    check(family, form, chatml(kept))


@pytest.mark.parametrize("form", ALL, ids=str)
def test_what_is_refused_never_reaches_the_door(family: Family, form: Form) -> None:
    """P-2, P-3, P-6: no value is bent into its range, no prompt into its room."""
    words = words_for(form)
    for bad in ({"temperature": 2.1}, {"top_p": 0}, {"max_tokens": 5000}, {"seed": -1}):
        family.pod.call(form.path, form.body(words, **bad), status=400)
    long = "apple " * 3000
    too_long = [turn("user", long)] if form in TALKS else long
    family.pod.call(form.path, form.body(too_long), status=422)
    assert family.pod.passed() == []
