"""The outer white space of a text in pieces."""

from ourvidz_worker.api.openai.trim import OuterTrim


def test_outer_white_space_is_trimmed_piece_by_piece() -> None:
    """T-5: trimmed outside, untouched inside, whatever the pieces are."""
    text = " \n a  b\n\nc \t"
    for size in (1, 2, 3, 50):
        trim = OuterTrim()
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert "".join(trim.take(piece) for piece in pieces) == text.strip()
