"""The ledger keeps every worker's entry and the last hundred moves."""

from msgspec.structs import replace

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import Move, MoveKind, Residence, Why
from ourvidz_worker.residency.budgets import BUDGETS
from ourvidz_worker.residency.ledger import MOVES_KEPT, Ledger


def test_entries_stand_in_start_order_and_are_replaced() -> None:
    ledger = Ledger(BUDGETS)
    assert [one.lane for one in ledger.entries] == [Lane.IMAGE, Lane.CHAT, Lane.VIDEO]
    ledger.note(replace(ledger.entry(Lane.CHAT), residence=Residence.LOADED, load_s=2.0))
    found = ledger.entry(Lane.CHAT)
    assert (found.residence, found.pending_bytes) == (Residence.LOADED, 0)


def test_what_is_expected_are_the_waiting_and_those_of_one_load() -> None:
    """M-6: no constants, but the queue, the rate and the measured load."""
    entry = Ledger(BUDGETS).entry(Lane.VIDEO)
    assert replace(entry, waiting=2, arrivals_per_s=0.1, load_s=30.0).expected == 5.0
    assert replace(entry, arrivals_per_s=0.1).expected == 0.0


def test_the_last_hundred_moves_are_kept() -> None:
    ledger = Ledger(BUDGETS)
    for number in range(MOVES_KEPT + 5):
        ledger.record(Move(at=float(number), kind=MoveKind.EVICT, why=Why.ROOM, lane=Lane.CHAT))
    assert len(ledger.moves) == MOVES_KEPT == 100
    assert ledger.moves[0].at == 5.0
