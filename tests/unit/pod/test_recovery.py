"""Which failures are tried again, and how often (contract 11)."""

import pytest

from ourvidz_worker.pod.recovery import may_try_again


@pytest.mark.parametrize(
    ("code", "retryable", "tries", "again"),
    [
        ("OOM_ERROR", True, 1, True),
        ("OOM_ERROR", True, 2, False),
        ("MODEL_LOAD_ERROR", True, 1, True),
        ("GENERATION_ERROR", True, 1, True),
        ("GENERATION_ERROR", True, 2, False),
        ("GENERATION_ERROR", False, 1, False),
        ("WORKER_UNAVAILABLE", True, 1, True),
        ("WORKER_UNAVAILABLE", True, 2, True),
        ("WORKER_UNAVAILABLE", True, 3, False),
        ("TIMEOUT_ERROR", True, 1, False),
        ("INVALID_PROMPT", False, 1, False),
        ("INTERNAL_ERROR", True, 1, False),
    ],
)
def test_the_table(code: str, retryable: bool, tries: int, again: bool) -> None:
    assert may_try_again(code, retryable=retryable, tries=tries, max_tries=3) is again
