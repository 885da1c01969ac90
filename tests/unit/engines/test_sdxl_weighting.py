"""Weights in a prompt are read once, into spans; what is no weight stays text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ourvidz_worker.engines.sdxl_weighting import (
    Span,
    has_weights,
    pair_brackets,
    parse_weights,
    unweighted,
)


def read(text: str) -> list[tuple[str, float]]:
    return [(span.text, round(span.weight, 3)) for span in parse_weights(text)]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("a cat", [("a cat", 1.0)]),
        ("a (cat:1.3) b", [("a ", 1.0), ("cat", 1.3), (" b", 1.0)]),
        ("((x))", [("x", 1.21)]),
        ("[x] y", [("x", 0.909), (" y", 1.0)]),
        ("(a (b:2) c:0.5)", [("a ", 0.5), ("b", 1.0), (" c", 0.5)]),
        ("word++ z", [("word", 1.21), (" z", 1.0)]),
        ("a, b-- c", [("a, ", 1.0), ("b", 0.81), (" c", 1.0)]),
        ("(two words)1.2 end", [("two words", 1.2), (" end", 1.0)]),
        ("(x)++", [("x", 1.21)]),
        ("(face: .5 )", [("face", 0.5)]),
        ("", [("", 1.0)]),
    ],
)
def test_both_notations_are_read(text: str, spans: list[tuple[str, float]]) -> None:
    assert read(text) == spans


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("(unbalanced", "(unbalanced"),
        ("a ) b", "a ) b"),
        (r"\(a\) b", "(a) b"),
        (r"a\b", r"a\b"),
        ("well-known -- x - y", "well-known -- x - y"),
        ("1+1=2", "1+1=2"),
        ("a:1.2", "a:1.2"),
        ("[open (", "[open ("),
    ],
)
def test_what_is_no_weight_is_text(text: str, literal: str) -> None:
    assert read(text) == [(literal, 1.0)]


def test_a_bracket_that_closes_over_an_open_one_leaves_it_as_text() -> None:
    assert read("(c [d) e]") == [("c [d", 1.1), (" e]", 1.0)]
    assert pair_brackets("(c [d) e]") == {0: 5}


@given(st.text(alphabet="ab ()[]:.1+-\\,"))
def test_nothing_but_signs_is_ever_lost(text: str) -> None:
    kept = "".join(span.text for span in parse_weights(text))
    assert [c for c in kept if c == "a"] == [c for c in text if c == "a"]
    assert [c for c in kept if c == "b"] == [c for c in text if c == "b"]


@given(st.text(alphabet="abc ,."))
def test_plain_text_is_unchanged(text: str) -> None:
    assert parse_weights(text) == unweighted(text) == (Span(text=text),)
    assert not has_weights(parse_weights(text))
