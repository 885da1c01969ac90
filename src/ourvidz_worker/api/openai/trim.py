"""The outer white space of a text that comes in pieces."""


class OuterTrim:
    """Trims the outer white space of a text that comes in pieces (T-5)."""

    def __init__(self) -> None:
        """Nothing has come."""
        self._held = ""
        self._begun = False

    def take(self, piece: str) -> str:
        """What may be told now; white space waits until it turns out to be inside."""
        text = self._held + piece
        if not self._begun:
            text = text.lstrip()
        told = text.rstrip()
        self._held = text[len(told) :]
        self._begun = self._begun or bool(told)
        return told
