"""Numbers that left their range: how they show in a text, and how that is made sure.

vLLM tells nobody when a model's scores are no numbers; it then draws the first token of the
vocabulary, again and again. A run of it is doubtful, no more: a second look asks for its chance.
"""

import math
from collections.abc import Iterable

from ourvidz_worker.engines.text.base import Token

DOUBTFUL_RUN = 16
"""So many of the first token in a row, and the text is looked at again, once."""

NO_NUMBERS = "The model's scores are no numbers; the operator must check its files."


class Doubt:
    """Watches one text."""

    def __init__(self) -> None:
        """No token has been seen."""
        self._run = 0
        self._raised = False

    def rises(self, tokens: Iterable[Token]) -> bool:
        """Take what was drawn; True once, when the text has become doubtful."""
        for token in tokens:
            self._run = self._run + 1 if token.id == 0 else 0
        if self._raised or self._run < DOUBTFUL_RUN:
            return False
        self._raised = True
        return True


def are_numbers(tokens: Iterable[Token]) -> bool:
    """False when the chance of one of them is none."""
    return not any(token.logprob is not None and math.isnan(token.logprob) for token in tokens)
