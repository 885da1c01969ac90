"""Arrivals: what the queue shows of how often work comes (M-6)."""

import math

import pytest

from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.pod.arrivals import MEMORY_S, Arrivals


def test_what_was_added_since_the_last_look_has_arrived() -> None:
    """M-6: from the queue's length; what moves from waiting to leased is no arrival."""
    arrivals = Arrivals()
    arrivals.look({Lane.VIDEO: Depth(waiting=2)}, 0.0)
    arrivals.look({Lane.VIDEO: Depth(waiting=1, leased=1)}, 0.0)
    assert arrivals.per_second(Lane.VIDEO) == 2 / MEMORY_S
    arrivals.look({Lane.VIDEO: Depth(leased=1)}, 0.0)
    arrivals.look({Lane.VIDEO: Depth(waiting=3, leased=1)}, 0.0)
    assert arrivals.per_second(Lane.VIDEO) == 5 / MEMORY_S
    assert arrivals.per_second(Lane.CHAT) == 0.0
    arrivals.add(Lane.CHAT)
    assert arrivals.per_second(Lane.CHAT) == 1 / MEMORY_S


def test_the_past_fades() -> None:
    arrivals = Arrivals()
    arrivals.look({}, 0.0)
    arrivals.add(Lane.IMAGE, 10)
    arrivals.look({}, MEMORY_S)
    assert arrivals.per_second(Lane.IMAGE) == pytest.approx(10 / MEMORY_S / math.e)


def test_a_wait_counts_from_its_beginning_and_ends() -> None:
    arrivals = Arrivals()
    waits = [
        arrivals.waited_s(Lane.VIDEO, is_missed, now)
        for is_missed, now in ((True, 5.0), (True, 9.0), (False, 10.0), (True, 20.0), (True, 21.0))
    ]
    assert waits == [0.0, 4.0, 0.0, 0.0, 1.0]
