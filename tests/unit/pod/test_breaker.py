"""A lane that fails by itself rests, is tried again, and is condemned at last (Q-8)."""

import pytest

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.breaker import OPEN_S, Breaker
from ourvidz_worker.testing.clock import FakeClock


def breaker() -> tuple[Breaker, FakeClock]:
    clock = FakeClock()
    return Breaker(clock), clock


@pytest.mark.parametrize(
    ("story", "may_lease", "condemned"),
    [
        ("", True, False),
        ("ab", True, False),
        ("abc", False, False),
        ("ab+c", True, False),
        ("aaaaaa", True, False),
        ("aaabb", True, False),
        ("abc.", True, False),
        ("abc.d", False, False),
        ("abc.+d", True, False),
        ("abc.+de", True, False),
        ("abc.d.e", False, True),
        ("abcdefghi", False, False),
        ("abc.d.e.", True, False),
        ("abc.d.e.f", False, True),
        ("abc.d.e.+", True, False),
        ("!", False, False),
        ("!.!.!", False, True),
        ("!!!", False, False),
    ],
)
def test_the_story_of_a_lane(story: str, may_lease: bool, condemned: bool) -> None:
    """Q-8: a letter is a failure of that culprit, + a success, . a rest, ! a worker away."""
    found, clock = breaker()
    for sign in story:
        match sign:
            case "+":
                found.worked(Lane.VIDEO)
            case ".":
                clock.jump(OPEN_S)
            case "!":
                found.open(Lane.VIDEO)
            case _:
                found.failed(Lane.VIDEO, sign)
    assert found.may_lease(Lane.VIDEO) is may_lease
    assert found.condemns(Lane.VIDEO) is condemned
    assert found.may_lease(Lane.IMAGE), "lanes are independent (Q-9)"


def test_a_lane_rests_for_a_minute_and_no_longer() -> None:
    """Q-8: 60 s."""
    found, clock = breaker()
    for culprit in "abc":
        found.failed(Lane.CHAT, culprit)
    clock.jump(59.9)
    assert not found.may_lease(Lane.CHAT)
    clock.jump(0.1)
    assert found.may_lease(Lane.CHAT)
