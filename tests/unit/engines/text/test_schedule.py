"""How a step's room for prompts is shared out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ourvidz_worker.engines.text.schedule import share_out


@given(st.lists(st.integers(1, 5000), max_size=20), st.integers(1, 600))
def test_the_room_is_used_and_nobody_gets_more_than_he_needs(lefts: list[int], room: int) -> None:
    shares = share_out(lefts, room)
    assert sum(shares) == min(sum(lefts), room)
    assert all(0 <= share <= left for share, left in zip(shares, lefts, strict=True))
    if lefts:
        assert shares[0] >= min(lefts[0], room // 2), "the first has a right to half"


@pytest.mark.parametrize(
    ("lefts", "shares"),
    [
        ([], []),
        ([500], [100]),
        ([500, 30, 10], [60, 30, 10]),
        ([500, 400, 10], [50, 40, 10]),
        ([10, 400, 400], [10, 90, 0]),
        ([3, 3, 3], [3, 3, 3]),
    ],
)
def test_short_prompts_come_before_long_ones_that_are_not_first(
    lefts: list[int], shares: list[int]
) -> None:
    assert share_out(lefts, 100) == shares
