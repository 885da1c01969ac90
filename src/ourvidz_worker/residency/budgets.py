"""What each worker may use before it was measured, and its share of a card (contract 9, M-1)."""

from collections.abc import Mapping
from types import MappingProxyType

from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import GIB
from ourvidz_worker.residency.policy import SAFETY_BYTES

#: The contract's table, bytes.
BUDGETS: Mapping[Lane, int] = MappingProxyType(
    {Lane.IMAGE: 10 * GIB, Lane.CHAT: 15 * GIB, Lane.VIDEO: 30 * GIB}
)

#: The shares of the reference card (48 GB) that go with them.
REFERENCE_FRACTIONS: Mapping[Lane, float] = MappingProxyType(
    {Lane.IMAGE: 0.21, Lane.CHAT: 0.31, Lane.VIDEO: 0.63}
)


def budget_of(lane: Lane, fraction: float, total_bytes: int) -> int:
    """A worker's budget: the table's, or the operator's share where it is not the table's.

    Never more than the card has beside the safety margin, so that each worker fits alone.
    """
    asked = BUDGETS[lane]
    if fraction != REFERENCE_FRACTIONS[lane]:
        asked = int(fraction * total_bytes)
    return max(0, min(asked, total_bytes - SAFETY_BYTES))


def fraction_of(lane: Lane, fraction: float, total_bytes: int) -> float:
    """The cap of a worker's process: its budget's share of the card (M-1)."""
    return budget_of(lane, fraction, total_bytes) / total_bytes
