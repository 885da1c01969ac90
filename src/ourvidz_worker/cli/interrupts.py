"""Ctrl-C: once to stop what is waited for, again to leave at once."""

import os
import signal
from collections.abc import Callable
from functools import partial
from types import FrameType

INTERRUPTED = 130
"""The exit code of what Ctrl-C has ended, as shells know it."""


def leave_at_next(tidy: Callable[[], object]) -> None:
    """From now on Ctrl-C calls `tidy` and ends this process without another word.

    A `KeyboardInterrupt` may be raised where Python drops exceptions; this cannot be lost.
    """
    signal.signal(signal.SIGINT, partial(_leave, tidy))


def _leave(tidy: Callable[[], object], _signal: int, _frame: FrameType | None) -> None:
    tidy()
    os._exit(INTERRUPTED)
