"""What a text has computed of itself: the keys and values of every layer, in one tensor."""

from dataclasses import dataclass

import torch
from torch import Tensor

GROWTH = 1.5
"""A text that outgrows its room gets so much more; what is computed is then copied once."""


@dataclass(frozen=True, kw_only=True)
class PastShape:
    """How much a model keeps of each token, and where."""

    layers: int
    heads: int
    width: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        """What one token takes."""
        return self.layers * 2 * self.heads * self.width * self.dtype.itemsize


class Past:
    """Keys and values `[layers, 2, heads, room, width]`; of the room, `length` is computed."""

    def __init__(self, shape: PastShape, room: int) -> None:
        """Take memory for `room` tokens."""
        self._shape = shape
        self.length = 0
        self.values = self._take(room)

    @property
    def size_bytes(self) -> int:
        """The memory taken."""
        return self.values.nbytes

    def take_over(self, other: "Past", length: int) -> None:
        """Begin with the first `length` tokens of another text."""
        self.values[..., :length, :].copy_(other.values[..., :length, :])
        self.length = length

    def reserve(self, room: int) -> None:
        """Have room for so many tokens; what is computed stays."""
        present = self.values.shape[3]
        if room <= present:
            return
        larger = self._take(max(room, int(present * GROWTH)))
        larger[..., : self.length, :].copy_(self.values[..., : self.length, :])
        self.values = larger

    def trim(self) -> None:
        """Give back the room that is not used, where that is worth a copy."""
        if self.values.shape[3] > self.length * GROWTH:
            smaller = self._take(self.length)
            smaller.copy_(self.values[..., : self.length, :])
            self.values = smaller

    def _take(self, room: int) -> Tensor:
        shape = self._shape
        return torch.empty(
            (shape.layers, 2, shape.heads, room, shape.width),
            dtype=shape.dtype,
            device=shape.device,
        )
