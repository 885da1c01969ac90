"""The three text bodies: defaults, bounds, model names, and the sentences that stay."""

import json
from collections.abc import Callable

import pytest

from ourvidz_worker.api.bodies import JsonObject, parse_object
from ourvidz_worker.api.text_bodies import (
    TextOrder,
    decode_chat,
    decode_enhance,
    decode_generate,
    decode_prompt,
)
from ourvidz_worker.domain.errors import InvalidPrompt, RequestError
from ourvidz_worker.domain.request import Message, Sampling

MOST = 4096
TURN = {"role": "user", "content": "a prompt"}
Decode = Callable[[JsonObject, int], TextOrder]


def body(**fields: object) -> JsonObject:
    """A body of these fields."""
    return parse_object(json.dumps(fields).encode())


def chat(**fields: object) -> TextOrder:
    """What a `/chat` body with one turn and these fields decodes to."""
    return decode_chat(body(messages=[TURN], **fields), MOST)


def fault(decode: Decode, **fields: object) -> RequestError:
    """What a body is refused with; it holds nothing of what was written."""
    with pytest.raises(RequestError) as raised:
        decode(body(**fields), MOST)
    assert "SECRET" not in raised.value.sentence
    return raised.value


def test_defaults_are_the_contracts() -> None:
    """T-1: the table's defaults alone."""
    order = chat()
    request = order.request
    assert request.sampling == Sampling(max_tokens=512, temperature=0.7, top_p=0.9, top_k=0)
    assert (request.job_type, request.model) == ("chat_conversation", "instruct")
    assert request.messages == (Message(role="user", content="a prompt"),)
    assert (request.text, request.truncate) == (None, None)
    assert (order.stream, order.sfw, order.full_text) == (False, False, False)
    enhanced = decode_enhance(body(messages=[TURN]), MOST).request
    assert (enhanced.job_type, enhanced.sampling.max_tokens) == ("chat_enhance", 200)


def test_the_operators_limit_bounds_the_default_too() -> None:
    assert decode_chat(body(messages=[TURN]), 100).request.sampling.max_tokens == 100


def test_everything_given_is_taken() -> None:
    """2.3: every field of the table, penalties honoured."""
    order = chat(
        max_tokens=4096,
        temperature=0,
        top_p=1,
        top_k=3,
        frequency_penalty=-2,
        presence_penalty=0.6,
        repetition_penalty=2,
        stop=["a", "b"],
        seed=0,
        truncate="oldest",
        stream=True,
        sfw_mode=True,
    )
    assert order.request.sampling == Sampling(
        max_tokens=4096,
        temperature=0.0,
        top_p=1.0,
        top_k=3,
        frequency_penalty=-2.0,
        presence_penalty=0.6,
        repetition_penalty=2.0,
        stop=("a", "b"),
        seed=0,
    )
    assert (order.request.truncate, order.stream, order.sfw) == ("oldest", True, True)


def test_null_is_absent() -> None:
    names = ["max_tokens", "temperature", "top_p", "stop", "seed", "model", "truncate", "stream"]
    assert chat(**dict.fromkeys(names)).request == chat().request


def test_a_single_stop_is_one_string() -> None:
    assert chat(stop="###").request.sampling.stop == ("###",)


def test_roles_need_not_alternate_and_content_may_be_empty() -> None:
    """T-2."""
    turns = [{"role": "assistant", "content": ""}, {"role": "assistant", "content": "b"}]
    assert len(decode_chat(body(messages=turns), MOST).request.messages) == 2
    many = decode_chat(body(messages=[TURN] * 512), MOST)
    assert len(many.request.messages) == 512


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("qwen_instruct", "instruct"),
        ("Qwen2.5-7B-Instruct", "instruct"),
        ("QWEN_BASE", "base"),
        ("qwen2.5-7b-base", "base"),
        ("Qwen2.5-7B", "base"),
    ],
)
def test_model_names_in_any_case(name: str, model: str) -> None:
    assert chat(model=name).request.model == model
    assert decode_generate(body(inputs="x", model=name), MOST).request.model == model
    assert decode_prompt(body(prompt="x", model=name), MOST).request.model == model


def test_flags_are_recorded_and_change_nothing() -> None:
    """P-5, H-5: unknown keys are tolerated."""
    flags = {"sfw_mode": "yes", "content_tier": {"a": 1}, "conversation_id": 7, "other": 1}
    order = chat(**flags)
    assert order.request.recorded.passed_through.keys() == flags.keys() - {"other"}
    assert order.request.sampling == chat().request.sampling
    assert not order.sfw


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        (None, "No messages provided"),
        ([], "No messages provided"),
        ("SECRET", "Messages must be an array"),
        ({}, "Messages must be an array"),
        (["SECRET"], "Invalid message format"),
        ([{"role": "user"}], "Invalid message format"),
        ([{"content": "SECRET"}], "Invalid message format"),
        ([{"role": "user", "content": None}], "Invalid message format"),
        ([{"role": "user", "content": ["SECRET"]}], "Invalid message format"),
        ([{"role": "SECRET", "content": ""}], "Invalid role"),
        ([{"role": 3, "content": ""}], "Invalid role"),
        ([TURN, {"role": "tool", "content": ""}], "Invalid role"),
        ([TURN] * 513, "At most 512 messages are taken."),
    ],
)
def test_the_sentences_that_stay(messages: object, sentence: str) -> None:
    """H-21."""
    for decode in (decode_chat, decode_enhance):
        error = fault(decode, messages=messages)
        assert (error.sentence, error.field) == (sentence, "messages")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_tokens", 0),
        ("max_tokens", 4097),
        ("max_tokens", "100"),
        ("max_tokens", 1.5),
        ("max_tokens", True),
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", False),
        ("top_p", 0),
        ("top_p", 1.1),
        ("top_k", -1),
        ("frequency_penalty", -2.1),
        ("presence_penalty", 2.1),
        ("repetition_penalty", 0.4),
        ("stop", ["a"] * 9),
        ("stop", [1]),
        ("stop", ""),
        ("stop", {"SECRET": 1}),
        ("seed", -1),
        ("seed", 2**53),
        ("model", "SECRET"),
        ("model", 7),
        ("truncate", "newest"),
        ("stream", "true"),
        ("stream", 1),
    ],
)
def test_a_field_out_of_its_bounds_is_named(field: str, value: object) -> None:
    """H-5, P-2: wrong types and values are refused, never clamped."""
    error = fault(decode_chat, messages=[TURN], **{field: value})
    assert error.field == field
    assert field in error.sentence


def test_enhance_streams_as_chat_does() -> None:
    assert decode_enhance(body(messages=[TURN], stream=True), MOST).stream
    assert not decode_enhance(body(messages=[TURN]), MOST).stream


def test_the_inputs_form_has_its_own_defaults() -> None:
    request = decode_generate(body(inputs=" once\n"), MOST).request
    assert (request.text, request.messages, request.model) == (" once\n", (), "base")
    assert request.sampling == Sampling(max_tokens=200)


def test_the_inputs_form_has_its_own_words() -> None:
    """T-6."""
    given = {"max_new_tokens": 9, "top_k": 2, "do_sample": False, "temperature": 1.5}
    order = decode_generate(
        body(inputs="x", parameters={**given, "return_full_text": True}, stream=True), MOST
    )
    assert order.request.sampling == Sampling(max_tokens=9, top_k=2, temperature=0.0)
    assert (order.full_text, order.stream) == (True, True)
    sampled = decode_generate(body(inputs="x", parameters={"do_sample": True}), MOST)
    assert sampled.request.sampling.temperature == 0.7


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "messages"),
        ({"inputs": None}, "messages"),
        ({"inputs": "x", "messages": [TURN]}, "messages"),
        ({"inputs": 7}, "inputs"),
        ({"inputs": ["SECRET"]}, "inputs"),
        ({"inputs": "x", "parameters": []}, "parameters"),
        ({"inputs": "x", "parameters": {"max_new_tokens": 5000}}, "parameters.max_new_tokens"),
        ({"inputs": "x", "parameters": {"top_p": 3}}, "parameters.top_p"),
        ({"inputs": "x", "parameters": {"do_sample": 1}}, "parameters.do_sample"),
    ],
)
def test_a_wrong_generate_body_is_named(fields: dict[str, object], field: str) -> None:
    assert fault(decode_generate, **fields).field == field


def test_generate_takes_the_messages_form_as_chat_does() -> None:
    given = body(messages=[TURN], inputs=None, temperature=1)
    assert decode_generate(given, MOST) == decode_chat(given, MOST)


def test_the_prompt_form_continues_with_base_and_asks_instruct() -> None:
    """T-7."""
    base = decode_prompt(body(prompt="a cat ", config={"max_tokens": 5, "top_k": None}), MOST)
    assert (base.request.text, base.request.model) == ("a cat ", "base")
    assert base.request.sampling == Sampling(max_tokens=5)
    asked = decode_prompt(body(prompt="a cat ", model="qwen_instruct", config=None), MOST).request
    assert (asked.text, asked.messages) == (None, (Message(role="user", content="a cat "),))
    assert asked.sampling.max_tokens == 200


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"prompt": 3}, "prompt"),
        ({"prompt": "x", "config": "SECRET"}, "config"),
        ({"prompt": "x", "config": {"max_tokens": 5000}}, "config.max_tokens"),
        ({"prompt": "x", "config": {"temperature": "SECRET"}}, "config.temperature"),
    ],
)
def test_a_wrong_prompt_body_is_named(fields: dict[str, object], field: str) -> None:
    assert fault(decode_prompt, **fields).field == field


@pytest.mark.parametrize("blank", ["", " ", "\n\t"])
def test_a_blank_beginning_is_no_prompt(blank: str) -> None:
    assert isinstance(fault(decode_prompt, prompt=blank), InvalidPrompt)
    assert isinstance(fault(decode_generate, inputs=""), InvalidPrompt)
