"""Waiting for what other processes do: looked at again and again, never for a fixed time."""

from collections.abc import Callable
from threading import Event

from ourvidz_worker.clock import SystemClock

LOOK_EVERY_S = 0.1


def until(happened: Callable[[], bool], within_s: float) -> None:
    """Return once `happened` is true; fail when it is not within `within_s` seconds."""
    clock, rest = SystemClock(), Event()
    deadline = clock.monotonic() + within_s
    while not happened():
        assert clock.monotonic() < deadline, f"it did not happen within {within_s:g} s"
        rest.wait(LOOK_EVERY_S)
