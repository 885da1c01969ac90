"""The gate that notes when the first text came."""

from tools.pocket.stage_chat_eval import FirstWord


def test_the_first_piece_counts_and_no_other() -> None:
    gate = FirstWord()
    before = gate.first
    assert before is None
    gate.text("One", 1)
    noted = gate.first
    assert noted is not None
    gate.text(" two", 2)
    assert gate.first == noted
    assert gate.text_so_far == "One two"
