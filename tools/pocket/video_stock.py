"""Drawn clips kept on the training device, renewed all the time: food for the VAE.

Shorter clips are windows of the long ones, so that motion has its true speed in all of them.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from tools.pocket.video_data import BUCKETS, FRAMES, ClipSource, Order, Purpose

CHUNK = 64
SQUARE_CLIPS, OTHER_CLIPS = 2048, 768
_DRAWS_A_RENEWAL = 6


class ClipStock:
    """A ring of clips for each bucket."""

    def __init__(self, source: ClipSource, rng: np.random.Generator, divisor: int = 1) -> None:
        """Draw the first clips; ``divisor`` makes all numbers smaller, for a rehearsal."""
        self._source, self._rng = source, rng
        self._chunk = max(CHUNK // divisor, 2)
        sizes = dict.fromkeys(BUCKETS, OTHER_CLIPS) | {BUCKETS[0]: SQUARE_CLIPS}
        self._clips = {
            bucket: torch.cat([self._new(bucket) for _ in range(max(size // CHUNK // divisor, 1))])
            for bucket, size in sizes.items()
        }
        self._cursors = dict.fromkeys(BUCKETS, 0)
        self._draws = 0

    def draw(self, bucket: tuple[int, int], frames: int, count: int) -> Tensor:
        """Return ``[count, 3, frames, H, W]`` in [-1, 1]: the same window of random clips."""
        self._draws += 1
        if self._draws % _DRAWS_A_RENEWAL == 0:
            self._renew(BUCKETS[int(self._rng.integers(len(BUCKETS)))])
        clips = self._clips[bucket]
        rows = torch.from_numpy(self._rng.integers(len(clips), size=count)).to(clips.device)
        begin = int(self._rng.integers(FRAMES - frames + 1))
        return clips[:, :, begin : begin + frames].index_select(0, rows).float()

    def _new(self, bucket: tuple[int, int]) -> Tensor:
        order = Order(count=self._chunk, bucket=bucket, frames=FRAMES, purpose=Purpose.PINNED)
        return self._source.film(order).half()

    def _renew(self, bucket: tuple[int, int]) -> None:
        clips, cursor = self._clips[bucket], self._cursors[bucket]
        clips[cursor : cursor + self._chunk] = self._new(bucket)
        self._cursors[bucket] = (cursor + self._chunk) % len(clips)
