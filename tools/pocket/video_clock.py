"""Time and randomness of the training runs."""

from __future__ import annotations

import time

import torch


class Stopwatch:
    """Counts seconds since it was made, plus what an earlier run had used."""

    def __init__(self, used: float = 0.0) -> None:
        self._begin = time.monotonic() - used

    def seconds(self) -> float:
        """Return the elapsed seconds."""
        return time.monotonic() - self._begin


def seed_generator(device: torch.device, seed: int) -> torch.Generator:
    """Return a generator on the device, seeded."""
    return torch.Generator(device=device).manual_seed(seed)
