"""Fractions never fall, and the time left follows the measured pace."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ourvidz_worker.worker.forecast import Forecast


def test_the_share_of_each_stage_counts() -> None:
    forecast = Forecast(0.0)
    forecast.enter(0.2, 0.0)
    assert forecast.fraction(1, 2) == pytest.approx(0.1)
    forecast.enter(0.8, 4.0)
    assert forecast.fraction(0, 4) == pytest.approx(0.2)
    assert forecast.fraction(4, 4) == pytest.approx(1.0)


def test_the_time_left_is_this_stage_at_its_pace_and_the_rest_by_its_share() -> None:
    forecast = Forecast(0.0)
    forecast.enter(0.8, 0.0)
    assert forecast.eta_s(0, 4, 0.0) is None
    # 2 s a step: 4 s left in this stage; 8 s are four fifths, so the last fifth takes 2 s.
    assert forecast.eta_s(2, 4, 4.0) == pytest.approx(4.0 + 2.0)
    forecast.enter(0.2, 8.0)
    assert forecast.eta_s(1, 2, 9.0) == pytest.approx(1.0)
    assert forecast.eta_s(2, 2, 10.0) == pytest.approx(0.0)


def test_a_first_short_stage_does_not_foretell_the_whole_alone() -> None:
    forecast = Forecast(0.0)
    forecast.enter(0.5, 0.0)
    forecast.enter(0.25, 10.0)
    # 10 s were half; this quarter will take 2 s: 12 s are three quarters, the last takes 4 s.
    assert forecast.eta_s(1, 2, 11.0) == pytest.approx(1.0 + 4.0)


@given(
    st.lists(
        st.tuples(
            st.floats(0, 1),
            st.lists(st.tuples(st.integers(-1, 9), st.integers(0, 9)), max_size=5),
        ),
        max_size=5,
    ),
    st.floats(0, 1e6),
)
def test_fractions_stay_within_and_never_fall(
    stages: list[tuple[float, list[tuple[int, int]]]], now: float
) -> None:
    forecast = Forecast(0.0)
    before = 0.0
    for share, steps in stages:
        forecast.enter(share, 0.0)
        for step, of in steps:
            after = forecast.fraction(step, of)
            assert before <= after <= 1.0
            before = after
            eta = forecast.eta_s(step, of, now)
            assert eta is None or eta >= 0.0
