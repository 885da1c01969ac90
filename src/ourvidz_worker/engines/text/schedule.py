"""What one step computes: a token of every text that is written, and parts of prompts beside."""

from collections.abc import Sequence


def share_out(lefts: Sequence[int], budget: int) -> list[int]:
    """How many tokens of each prompt to read, of `lefts` in the order of arrival.

    The first has a right to half the budget, so that no prompt waits for ever; the rest goes to
    those with least left, so that a short one does not wait for a long one.
    """
    shares = [0] * len(lefts)
    if not lefts:
        return shares
    shares[0] = min(lefts[0], budget if len(lefts) == 1 else (budget + 1) // 2)
    free = budget - shares[0]
    for index in sorted(range(1, len(lefts)), key=lambda i: lefts[i]):
        shares[index] = min(lefts[index], free)
        free -= shares[index]
    shares[0] += min(lefts[0] - shares[0], free)
    return shares
