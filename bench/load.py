"""The load that every system gets, and what is measured of it."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

CALIBRATION_ROUNDS = 2_000_000

REST_S = 1.0
"""A system that has just drained its queue is left alone for this long."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One pass of one system.

    `per_s` is the drain of jobs that waited before the worker started; `latencies_s` from the
    call of submit to the beginning of the body, on an idle worker; `calibration_s` a fixed loop
    on this machine just before.
    """

    per_s: float
    latencies_s: list[float]
    calibration_s: float


async def send_spaced(
    send: Callable[[int], Awaitable[None]], jobs: int, gap_s: float
) -> list[float]:
    """Hand in jobs one at a time, `gap_s` apart; return when each call was made (wall clock)."""
    await asyncio.sleep(REST_S)
    sent = []
    for number in range(jobs):
        sent.append(time.time())
        await send(number)
        await asyncio.sleep(gap_s)
    return sent


def calibrate() -> float:
    """Seconds that a fixed loop takes now: how much of the machine is ours at this moment."""
    begun = time.perf_counter()
    total = 0
    for number in range(CALIBRATION_ROUNDS):
        total += number & 1
    return time.perf_counter() - begun
