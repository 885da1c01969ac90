"""Every pair of states: the table alone says which moves there are."""

from itertools import product

import pytest

from ourvidz_worker.domain.job import MOVES, PUBLIC_STATUS, TERMINAL, Status

ALLOWED = {
    (Status.WAITING, Status.LEASED),
    (Status.WAITING, Status.CANCELLED),
    (Status.WAITING, Status.FAILED),
    (Status.LEASED, Status.WAITING),
    (Status.LEASED, Status.COMPLETED),
    (Status.LEASED, Status.FAILED),
    (Status.LEASED, Status.CANCELLED),
}


@pytest.mark.parametrize(("before", "after"), list(product(Status, Status)))
def test_a_move_is_allowed_exactly_where_the_table_says(before: Status, after: Status) -> None:
    assert (after in MOVES[before]) == ((before, after) in ALLOWED)


def test_nothing_leaves_a_terminal_state() -> None:
    assert {status for status in Status if not MOVES[status]} == TERMINAL


def test_callers_know_every_state_by_the_contracts_word() -> None:
    assert set(PUBLIC_STATUS) == set(Status)
    assert set(PUBLIC_STATUS.values()) == {
        "queued",
        "processing",
        "completed",
        "failed",
        "cancelled",
    }
