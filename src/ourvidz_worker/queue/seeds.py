"""Seeds: drawn at a job's first lease, kept for every later try."""

import secrets

LAST_SEED = 2_147_483_647 - 6
"""Drawn seeds end here, so that a batch of six numbers its pictures within 31 bits (3.3)."""


def draw_seed() -> int:
    """A seed from 1 to `LAST_SEED`, of the machine's own chance."""
    return 1 + secrets.randbelow(LAST_SEED)
