"""Back-off: how long to wait before asking a store again that did not answer (contract Q-2)."""

from collections.abc import Callable

FIRST_S, LONGEST_S = 1.0, 30.0
DOUBLINGS = 5
"""1, 2, 4, 8, 16 s, then the longest."""


class Backoff:
    """Waits that double from 1 to 30 s while it fails, each with a quarter's jitter."""

    def __init__(self, jitter: Callable[[], float]) -> None:
        """`jitter` is 0..1."""
        self._jitter = jitter
        self._failures = 0

    def next_s(self) -> float:
        """It failed again: how long to wait now."""
        longest = min(LONGEST_S, FIRST_S * float(1 << min(self._failures, DOUBLINGS)))
        self._failures += 1
        return longest * (0.75 + self._jitter() / 4)

    def reset(self) -> None:
        """It answered."""
        self._failures = 0
