"""Encoded pictures with their captions, kept on the training device and renewed all the time.

Drawing and encoding a picture costs about as much as a training step on it, so each is used
several times before newer ones take its place.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tools.pocket.compose import BUCKETS, Composer
from tools.pocket.image_data import CaptionBank
from tools.pocket.image_model import LATENT_CHANNELS, VAE_FACTOR
from tools.pocket.image_types import Vae
from tools.pocket.training import Budget

SQUARE_SLOTS, OTHER_SLOTS = 196_608, 49_152
REUSE = 6
_CHUNK = 512


@dataclass
class _Shelf:
    latents: torch.Tensor
    ids: torch.Tensor
    cursor: int = 0
    filled: int = 0
    drawn: int = 0


class ImagePool:
    """A ring of latents for each size."""

    def __init__(
        self,
        composer: Composer,
        vae: Vae,
        bank: CaptionBank,
        generator: torch.Generator,
        divisor: int = 1,
    ) -> None:
        """Take what draws and encodes; ``divisor`` makes all numbers smaller, for a rehearsal."""
        self._composer, self._vae, self._bank = composer, vae, bank
        self._generator = generator
        self._chunk = max(_CHUNK // divisor, 1)
        sizes = dict.fromkeys(BUCKETS, OTHER_SLOTS) | {BUCKETS[0]: SQUARE_SLOTS}
        self._shelves = {
            bucket: self._blank(bucket, max(slots // _CHUNK // divisor, 1) * self._chunk)
            for bucket, slots in sizes.items()
        }

    def fill(self, budget: Budget) -> int:
        """Fill the shelves evenly until they are full or the budget ends; return how many."""
        made = 0
        while not (budget.is_over and all(shelf.filled for shelf in self._shelves.values())):
            bucket = min(BUCKETS, key=lambda name: self._fullness(name))
            if self._fullness(bucket) >= 1.0:
                break
            made += self._renew(bucket)
        return made

    def draw(self, bucket: tuple[int, int], count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return float32 latents ``[count, 16, h, w]`` and token ids ``[count, 77]``."""
        shelf = self._shelves[bucket]
        shelf.drawn += count
        if shelf.drawn >= self._chunk * REUSE:
            shelf.drawn -= self._chunk * REUSE
            self._renew(bucket)
        device = shelf.ids.device
        rows = torch.randint(shelf.filled, (count,), generator=self._generator, device=device)
        return shelf.latents[rows].float(), shelf.ids[rows]

    @torch.no_grad()
    def _renew(self, bucket: tuple[int, int]) -> int:
        shelf = self._shelves[bucket]
        if shelf.cursor + self._chunk > len(shelf.ids):
            shelf.cursor = 0
        rows = slice(shelf.cursor, shelf.cursor + self._chunk)
        drawn = self._bank.draw(self._chunk, self._generator)
        picture = self._composer.draw(drawn.scenes, *bucket, self._generator)
        kind = self._composer.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            latents = self._vae.encode(picture).latent_dist.mode()
        shelf.latents[rows] = latents.to(shelf.latents.dtype)
        shelf.ids[rows] = drawn.ids
        shelf.cursor += self._chunk
        shelf.filled = max(shelf.filled, shelf.cursor)
        return self._chunk

    def _fullness(self, bucket: tuple[int, int]) -> float:
        shelf = self._shelves[bucket]
        return shelf.filled / len(shelf.ids)

    def _blank(self, bucket: tuple[int, int], slots: int) -> _Shelf:
        width, height = bucket
        shape = (slots, LATENT_CHANNELS, height // VAE_FACTOR, width // VAE_FACTOR)
        device = self._composer.device
        latents = torch.zeros(shape, dtype=torch.float16, device=device)
        ids = self._bank.ids.new_zeros((slots, self._bank.ids.shape[1]))
        return _Shelf(latents=latents, ids=ids)
