"""Reading fields: strict JSON, strict types, lossless numbers, names in the caller's words."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ourvidz_worker.domain.errors import RequestError
from ourvidz_worker.domain.intake.fields import MAX_DEPTH, Fields, read_object, real, whole

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"[]",
        b'"{}"',
        b"{",
        b"{}{}",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -Infinity}',
        b'{"a": 1e999}',
        b'{"a": "\xff"}',
        b'{"a": "\xc0\x80"}',
        b'{"a": "\xed\xa0\x80"}',
        b'{"a": "\\ud800"}',
        b'{"a": 01}',
        b"{'a': 1}",
        b'{"a":' * 100_000,
        b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    ],
)
def test_what_is_no_json_object_is_refused_without_an_echo(text: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        read_object(text)
    assert caught.value.code == "INVALID_REQUEST"
    assert caught.value.sentence.startswith("The job ")


def test_as_many_levels_as_allowed_are_read() -> None:
    text = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert list(read_object(text)) == ["a"]


def test_of_equal_keys_the_last_wins() -> None:
    assert read_object(b'{"a": 1, "a": 2}') == {"a": 2}


@settings(deadline=None)
@given(JSON)
def test_no_json_value_breaks_the_readers(value: object) -> None:
    fields = Fields({"config": {"x": value}, "x": value})
    readers: list[Callable[[str], object]] = [
        lambda name: fields.integer(name, low=0, high=9),
        lambda name: fields.number(name, low=0, high=9),
        lambda name: fields.choice(name, allowed=("a", "b")),
        fields.flag,
        fields.text,
        fields.filled,
    ]
    named = {"x"}
    for read in readers:
        try:
            read("config.x")
            read("x")
        except RequestError as error:
            named.add(error.field or "nothing")
    assert named <= {"x", "config.x"}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (5, 5),
        (5.0, 5),
        ("5", 5),
        ("5.0", 5),
        ("1e3", 1000),
        ("-1", -1),
        (2**53 - 1, 2**53 - 1),
        (str(2**53 - 1), 2**53 - 1),
        (5.5, None),
        ("5.5", None),
        (True, None),
        (False, None),
        ("", None),
        (" 5", None),
        ("5 ", None),
        ("+5", None),
        ("05", None),
        ("0x5", None),
        ("5_0", None),
        ("\u0665", None),
        ("NaN", None),
        ("Infinity", None),
        ("9" * 50, None),
        ([], None),
        ({}, None),
        (None, None),
    ],
)
def test_whole_numbers(value: object, expected: int | None) -> None:
    found = whole(value)
    assert found == expected
    assert not isinstance(found, bool)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.05, 0.05),
        (1, 1.0),
        ("0.05", 0.05),
        ("7.5", 7.5),
        ("-0.1", -0.1),
        ("1e2", 100.0),
        ("1e-999", None),
        ("1e999", None),
        ("0.12345678901234567890", None),
        (2**53 + 1, None),
        (True, None),
        ("abc", None),
        ("inf", None),
    ],
)
def test_real_numbers(value: object, expected: float | None) -> None:
    assert real(value) == expected


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False, width=64))
def test_a_number_read_from_a_string_is_that_number(value: float) -> None:
    text = repr(value)
    found = real(text)
    assert found is None or (found == value and math.copysign(1, found) == math.copysign(1, value))


def test_a_field_that_is_null_is_absent() -> None:
    fields = Fields({"a": None, "config": None, "metadata": None})
    assert fields.find("a", "config.a", "metadata.a") is None


def test_the_first_name_given_wins_and_a_differing_later_one_is_listed() -> None:
    fields = Fields({"config": {"a": None, "b": 2, "c": 3, "d": 2}})
    assert fields.integer("config.a", "config.b", "config.c", "config.d", low=0, high=9) == 2
    assert fields.ignored() == ("config.c",)


def test_keys_of_config_that_nobody_asked_for_are_listed_and_bounded() -> None:
    fields = Fields({"config": {f"{number:03d}" + "x" * 200: 1 for number in range(100)}})
    ignored = fields.ignored()
    assert len(ignored) == 65
    assert max(map(len, ignored)) == 64
    assert ignored[0].startswith("config.000x")
    assert ignored[-1] == "and 36 more"


def test_levels_may_be_json_strings_and_nothing_else() -> None:
    assert Fields({"config": '{"a": 1}'}).integer("config.a", low=0, high=9) == 1
    for level in ("config", "metadata"):
        values: tuple[object, ...] = ("[]", "x", "", 1, True, [])
        for value in values:
            with pytest.raises(RequestError) as caught:
                Fields({level: value})
            assert caught.value.field == level


def test_an_error_names_no_field_by_a_forbidden_word() -> None:
    fields = Fields({"config": {"num_inference_steps": 0}})
    with pytest.raises(RequestError) as caught:
        fields.integer("config.num_inference_steps", low=1, high=100)
    assert caught.value.field == "config.steps"
    assert caught.value.sentence == "config.steps must be a whole number from 1 to 100"


def test_the_sentences_state_the_rule() -> None:
    fields = Fields({"a": "x", "b": 2})
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: fields.number("a", low=0, high=30), "a must be a number from 0 to 30"),
        (
            lambda: fields.number("a", low=0, high=20, above=True),
            "a must be a number above 0 and at most 20",
        ),
        (lambda: fields.integer("b", low=1, high=1), "b must be 1"),
        (lambda: fields.flag("a"), "a must be true or false"),
        (lambda: fields.text("b"), "b must be a text"),
        (lambda: fields.filled("b"), "b must be a text"),
        (lambda: fields.choice("a", allowed=("y", "z")), "a must be one of y, z"),
    ]
    for read, sentence in cases:
        with pytest.raises(RequestError) as caught:
            read()
        assert caught.value.sentence == sentence


def test_an_exclusive_bound_refuses_the_bound_itself() -> None:
    fields = Fields({"zero": 0, "top": 20})
    assert fields.number("top", low=0, high=20, above=True) == 20
    with pytest.raises(RequestError):
        fields.number("zero", low=0, high=20, above=True)


def test_the_first_text_that_is_not_empty_is_found_with_its_name() -> None:
    fields = Fields({"a": "", "b": None, "config": {"c": "x"}})
    assert fields.filled("a", "b", "config.c") == ("config.c", "x")
    assert fields.filled("a", "b") is None
