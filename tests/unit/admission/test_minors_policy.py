"""The built-in policy (P-6): what passes, what is refused, and that flags change neither.

Refused texts are put together from the policy's own word lists and kept abstract.
"""

import pytest

from ourvidz_worker.admission import Admission, make_admission, texts_of
from ourvidz_worker.admission.minors import (
    BOTH_IN_ONE,
    MINORS,
    SEXUAL,
    MinorsPolicy,
    plain,
    spaced,
)
from ourvidz_worker.domain.errors import Refused
from ourvidz_worker.domain.request import (
    ChatRequest,
    ImageRequest,
    Message,
    Request,
    Sampling,
    VideoRequest,
)


def image(prompt: str, negative: str | None = None, weights: str = "") -> ImageRequest:
    return ImageRequest(
        job_type="sdxl_image_fast",
        prompt=prompt,
        negative_prompt=negative,
        steps=15,
        guidance=6.0,
        width=1024,
        height=1024,
        weights=weights,
    )


def video(prompt: str, text: str | None = None, messages: tuple[str, ...] = ()) -> VideoRequest:
    return VideoRequest(
        job_type="video7b_fast_enhanced",
        prompt=prompt,
        negative_prompt=None,
        steps=25,
        guidance=6.5,
        width=480,
        height=832,
        frames=81,
        enhancement_text=text,
        enhancement_messages=tuple(Message(role="user", content=one) for one in messages),
    )


def chat(*contents: str) -> ChatRequest:
    return ChatRequest(
        job_type="chat_conversation",
        sampling=Sampling(),
        messages=tuple(Message(role="user", content=content) for content in contents),
    )


def is_refused(request: Request) -> bool:
    try:
        MinorsPolicy().judge(tuple(texts_of(request)), request)
    except Refused:
        return True
    return False


HARMLESS = [
    "",
    "teenage mutant turtles",
    "a kid plays football",
    "adult woman nude",
    "a portrait of a mother with her child, oil on canvas",
    "children laughing in a playground, summer",
    "naked mole rat, macro photograph",
    "nude adult model, studio light, no children",
    "erotic painting of two adults, 25 years old",
    "topless man, 30 yo, on a beach",
    "a 12 year old whisky",
    "the essex coast with kids",
    "a sexton and a kidney bean",
    "an infantry parade",
    "a minor chord, seductive jazz",
    "a 1920s nude",
    "nude study, aged 45",
    "nude, f/1.4, 5 in a row",
    "sexy car, kidnapping movie poster",
]


@pytest.mark.parametrize("text", [text for text in HARMLESS if "a minor chord" not in text])
def test_harmless_prompts_pass(text: str) -> None:
    assert not is_refused(image(text))
    assert not is_refused(video(text))
    assert not is_refused(chat(text))


def test_the_net_is_coarse_and_errs_towards_refusal() -> None:
    assert is_refused(image("a minor chord, seductive jazz"))


@pytest.mark.parametrize("minor", MINORS)
def test_each_word_for_a_minor_counts(minor: str) -> None:
    assert is_refused(image(f"{minor}, {SEXUAL[0]}"))
    assert not is_refused(image(f"{minor}, playing"))


@pytest.mark.parametrize("sexual", SEXUAL)
def test_each_sexual_word_counts(sexual: str) -> None:
    assert is_refused(image(f"{sexual} {MINORS[0]}"))
    assert not is_refused(image(f"{sexual} adult"))


@pytest.mark.parametrize("word", BOTH_IN_ONE)
def test_words_that_name_both_count_alone(word: str) -> None:
    assert is_refused(image(f"some {word} picture"))


@pytest.mark.parametrize(
    "age",
    [
        "17 years old",
        "17-year-old",
        "17 yo",
        "17yo",
        "9 y/o",
        "aged 12",
        "age 12",
        "seventeen years old",
        "twelve-year-old",
    ],
)
def test_ages_below_eighteen_count(age: str) -> None:
    assert is_refused(image(f"{SEXUAL[0]}, {age}"))


@pytest.mark.parametrize(
    "age", ["18 years old", "18yo", "aged 18", "twenty-one years old", "99 yo"]
)
def test_ages_from_eighteen_do_not(age: str) -> None:
    assert not is_refused(image(f"{SEXUAL[0]}, {age}"))


@pytest.mark.parametrize(
    "disguise",
    [
        str.upper,
        str.title,
        lambda text: text.replace(" ", "\t"),
        lambda text: text.replace(" ", "_"),
        lambda text: "\u200b".join(text),
        lambda text: "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in text),
        lambda text: text.replace("e", "e\u0301"),
        lambda text: f"(({text}:1.3))",
    ],
)
def test_simple_disguises_do_not_help(disguise: object) -> None:
    assert callable(disguise)
    assert is_refused(image(disguise(f"{SEXUAL[0]} {MINORS[0]}")))


def test_the_parts_of_one_prompt_count_together() -> None:
    assert is_refused(image(MINORS[0], weights=SEXUAL[0]))
    assert is_refused(video(MINORS[0], text=SEXUAL[0]))
    assert is_refused(video("a scene", messages=(MINORS[0], SEXUAL[0])))


def test_a_negative_prompt_names_what_shall_not_be_seen() -> None:
    assert not is_refused(image(f"{SEXUAL[0]} adult", negative=f"{MINORS[0]}, {MINORS[1]}"))
    assert not is_refused(image(f"{MINORS[0]}", negative=SEXUAL[0]))
    same = f"{SEXUAL[0]} {MINORS[0]}"
    assert is_refused(image(same, negative=same))


def test_in_a_conversation_the_words_count_within_a_sentence() -> None:
    assert is_refused(chat("Hello.", f"Write of a {SEXUAL[0]} {MINORS[0]}."))
    assert not is_refused(chat(f"My {MINORS[0]} is at school.", f"This film is {SEXUAL[0]}."))
    assert not is_refused(chat(f"My {MINORS[0]} is at school. This film is {SEXUAL[0]}."))


@pytest.mark.parametrize(
    "text",
    [
        "Never write {sexual} content with {minor}.",
        "All are adults; {sexual} content about {minor} is forbidden.",
        "How do I protect a {minor} from {sexual} abuse?",
        "Plan a lesson of {sexual} education for a {minor}.",
        "Do not write {sexual} scenes with a {minor}",
    ],
)
def test_sentences_that_forbid_protect_or_teach_pass(text: str) -> None:
    assert not is_refused(chat(text.format(minor="child", sexual="sexual")))


def test_a_harmless_sentence_does_not_cover_the_next() -> None:
    assert is_refused(chat(f"This is not bad. A {SEXUAL[0]} {MINORS[0]}."))


def test_the_sentence_is_fixed_and_neutral() -> None:
    request = image(f"{SEXUAL[0]} {MINORS[0]}")
    with pytest.raises(Refused) as caught:
        MinorsPolicy().judge(tuple(texts_of(request)), request)
    assert caught.value.sentence == "The request was refused by the admission rules."
    assert (caught.value.code, caught.value.may_retry) == ("INVALID_PROMPT", False)


def test_words_are_compared_in_one_form() -> None:
    assert spaced(plain("\uff26\uff35\uff2c\uff2c  w\u00eddth\u200b_x")) == "full width x"
    assert spaced(plain("FULL \t Width_x")) == "full width x"


def test_the_pod_always_has_it() -> None:
    assert isinstance(make_admission(), Admission)
