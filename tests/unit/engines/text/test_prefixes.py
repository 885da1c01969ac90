"""What ended texts leave for those that begin alike."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ourvidz_worker.engines.text import prefixes
from ourvidz_worker.engines.text.past import Past, PastShape
from ourvidz_worker.engines.text.prefixes import LEAST_TOKENS, Beginning, Prefixes

SHAPE = PastShape(layers=1, heads=1, width=1, dtype=torch.float32, device=torch.device("cpu"))
TOKEN_BYTES = 8


def row(first: int, length: int = 20, *more: int) -> Beginning:
    """A text that shares nothing with one of another `first`."""
    return Beginning([first] * length + list(more))


def past(length: int = 20) -> Past:
    return Past(SHAPE, length)


TEXTS = st.lists(st.integers(0, 1), max_size=40) | st.lists(st.just(1), max_size=40)


@given(TEXTS, TEXTS)
def test_shared_is_the_common_beginning_if_it_is_long_enough(
    one: list[int], other: list[int]
) -> None:
    pairs = zip(one, other, strict=False)
    alike = next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    expected = alike if alike >= LEAST_TOKENS else 0
    assert Beginning(one).shared(Beginning(other)) == expected


def test_the_longest_beginning_is_found() -> None:
    kept = Prefixes(1000 * TOKEN_BYTES)
    short, long = past(), past()
    kept.keep(row(1, 16, 2, 2, 2, 2), short)
    kept.keep(row(1, 18, 3, 3), long)
    assert kept.find(row(1, 30)) == (long, 18)
    assert kept.find(row(1, 16, *[2] * 9)) == (short, 20)
    assert kept.find(row(9)) == (None, 0)


def test_those_used_longest_ago_go_first() -> None:
    kept = Prefixes(60 * TOKEN_BYTES)
    for number in (1, 2, 3):
        kept.keep(row(number), past())
    kept.find(row(1))
    kept.keep(row(4), past())
    assert [kept.find(row(number))[1] for number in (1, 2, 3, 4)] == [20, 0, 20, 20]
    assert kept.size_bytes == 60 * TOKEN_BYTES


def test_a_longer_text_takes_the_place_of_its_beginning() -> None:
    kept = Prefixes(1000 * TOKEN_BYTES)
    kept.keep(row(1, 20), past(20))
    kept.keep(row(1, 30), past(30))
    assert kept.size_bytes == 30 * TOKEN_BYTES
    kept.keep(row(1, 25), past(25))
    assert kept.size_bytes == 30 * TOKEN_BYTES


def test_what_is_too_short_or_too_large_is_not_kept() -> None:
    kept = Prefixes(50 * TOKEN_BYTES)
    kept.keep(row(1, LEAST_TOKENS - 1), past(15))
    kept.keep(row(2, 51), past(51))
    assert (kept.size_bytes, kept.clear()) == (0, False)


def test_their_number_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prefixes, "MOST_TEXTS", 5)
    kept = Prefixes(1 << 30)
    for number in range(50):
        kept.keep(row(number), past())
    assert kept.size_bytes == 5 * 20 * TOKEN_BYTES
    assert kept.clear()
    assert (kept.size_bytes, kept.find(row(49))) == (0, (None, 0))
