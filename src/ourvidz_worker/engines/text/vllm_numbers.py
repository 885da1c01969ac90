"""Numbers that left their range: how they show in a text, and how that is made sure.

vLLM tells nobody when a model's scores are no numbers; it then draws the first token of the
vocabulary, again and again. A run of it is doubtful, no more: a second look asks for its chance.
"""

import math
from collections.abc import Iterable

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.engines.tensors import FAULT
from ourvidz_worker.engines.text.base import Token

DOUBTFUL_RUN = 16
"""So many of the first token in a row, and the text is looked at again, once."""


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


def check_chances(tokens: Iterable[Token]) -> None:
    """Raise `AttemptError` when a chance is no number."""
    if any(token.logprob is not None and math.isnan(token.logprob) for token in tokens):
        raise AttemptError(FAULT)
