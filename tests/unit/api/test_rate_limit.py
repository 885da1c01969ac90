"""The rate limit: tokens, places, and a table that does not grow."""

from contextlib import ExitStack

import pytest

from ourvidz_worker.api.limits import RateLimit, source_of
from ourvidz_worker.domain.errors import RateLimited
from ourvidz_worker.testing.clock import FakeClock


def use(limit: RateLimit, address: str, times: int = 1) -> None:
    """Ask that often, one after the other."""
    for _ in range(times):
        with limit.place(address):
            pass


def test_a_minute_s_worth_then_one_a_second() -> None:
    """A-6: 60 a minute."""
    clock = FakeClock()
    limit = RateLimit(clock, per_minute=60, concurrent=8)
    use(limit, "10.0.0.1", 60)
    with pytest.raises(RateLimited) as refused, limit.place("10.0.0.1"):
        pass
    assert refused.value.facts["retry_after_s"] == 1
    clock.jump(1)
    use(limit, "10.0.0.1")
    clock.jump(600)
    use(limit, "10.0.0.1", 60)
    with pytest.raises(RateLimited), limit.place("10.0.0.1"):
        pass


def test_so_many_at_once() -> None:
    """A-6: so many at once."""
    limit = RateLimit(FakeClock(), per_minute=60, concurrent=2)
    with ExitStack() as places:
        places.enter_context(limit.place("10.0.0.1"))
        places.enter_context(limit.place("10.0.0.1"))
        with pytest.raises(RateLimited), limit.place("10.0.0.1"):
            pass
        use(limit, "10.0.0.2")
    use(limit, "10.0.0.1")
    assert len(limit) == 2


def test_a_place_is_given_back_when_the_work_fails() -> None:
    limit = RateLimit(FakeClock(), per_minute=60, concurrent=1)
    with pytest.raises(KeyError), limit.place("a"):
        raise KeyError
    with limit.place("a"):
        assert len(limit) == 1


def test_the_table_is_bounded_and_forgets_who_was_served_longest_ago() -> None:
    limit = RateLimit(FakeClock(), per_minute=1, concurrent=8, sources=2)
    with limit.place("a"):
        use(limit, "b")
        use(limit, "c")
        assert len(limit) == 2
        with pytest.raises(RateLimited), limit.place("a"):
            pass
        use(limit, "b")


def test_a_table_full_of_callers_at_work_takes_nobody_else() -> None:
    limit = RateLimit(FakeClock(), per_minute=60, concurrent=8, sources=1)
    with limit.place("a"), pytest.raises(RateLimited), limit.place("b"):
        pass
    use(limit, "b")
    assert len(limit) == 1


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("", ""),
    ],
)
def test_who_counts_as_one(address: str, source: str) -> None:
    assert source_of(address) == source
