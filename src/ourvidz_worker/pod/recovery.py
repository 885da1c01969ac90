"""What is tried again by itself, and how often (contract 11)."""

from collections.abc import Mapping
from types import MappingProxyType

#: Code to the number of tries a job may have in all; other codes settle at once.
RECOVERY: Mapping[str, int] = MappingProxyType(
    {"OOM_ERROR": 2, "MODEL_LOAD_ERROR": 2, "GENERATION_ERROR": 2}
)

LOST = "WORKER_UNAVAILABLE"
"""A worker that ended under its job is tried again until the job's tries are used up."""


def may_try_again(code: str, *, retryable: bool, tries: int, max_tries: int) -> bool:
    """True when a job that failed with `code` on its try number `tries` gets another one."""
    if code == LOST:
        return tries < max_tries
    return retryable and tries < min(RECOVERY.get(code, 0), max_tries)
