"""Attention of many texts in one pass: each sees its own past alone, whatever its length.

A step's tokens of all texts lie in one row, without padding. The library's layers compute on the
row as on any other and ask here for the attention (its `AttentionInterface`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.device import Foreign
from ourvidz_worker.engines.text.past import Past, PastShape

NAME = "ourvidz_packed"
"""Our attention's name in the library."""

UNSERVED = ("softcap", "s_aux", "position_bias")
"""What some architectures add to attention, and this one does not compute."""


class Attention(Protocol):
    """What the layers' attention is asked of during one pass."""

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int
    ) -> Tensor:
        """Query `[1, HQ, T, D]`, key and value `[1, H, T, D]` of the row; gives `[1, HQ, T, D]`.

        Of its past a token sees the last `window` tokens, itself included; 0 means all.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class Span:
    """The next `ids` of one text, behind what its past holds."""

    ids: Sequence[int]
    past: Past


class Packed:
    """The attention of one pass over some spans."""

    def __init__(self, spans: Sequence[Span]) -> None:
        """Each span's past must have room for its ids."""
        self._counts = [len(span.ids) for span in spans]
        self._starts = [span.past.length for span in spans]
        # Views of every layer at once: made one by one they would take longer than the attention.
        self._new, self._all = [], []
        for span, start, count in zip(spans, self._starts, self._counts, strict=True):
            values = span.past.values
            self._new.append(values[..., start : start + count, :].unbind(0))
            self._all.append(values[:, :, None, :, : start + count].unbind(0))
        self._masks: dict[tuple[int, int, int], Tensor | None] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int
    ) -> Tensor:
        """Write the row's keys and values into each past, then let each span look at its own."""
        heads, width = key.shape[1], key.shape[3]
        groups = query.shape[1] // heads
        new = torch.split(torch.cat((key, value)), self._counts, dim=2)
        # Queries that share a head's keys stand one under the other, so no key is repeated.
        queries = torch.split(query.view(1, heads, groups, -1, width), self._counts, dim=3)
        parts = []
        for index, count in enumerate(self._counts):
            self._new[index][layer].copy_(new[index])
            keys, values = self._all[index][layer].unbind(0)
            first = max(0, self._starts[index] + 1 - window) if window else 0
            out = scaled_dot_product_attention(
                queries[index].reshape(1, heads, groups * count, width),
                keys[:, :, first:],
                values[:, :, first:],
                attn_mask=self._mask(index, groups, window, first, query),
                scale=scale,
            )
            parts.append(out.view(1, heads, groups, count, width))
        return torch.cat(parts, dim=3).view_as(query)

    def _mask(
        self, index: int, groups: int, window: int, first: int, query: Tensor
    ) -> Tensor | None:
        """None for a single token, which sees all that is left of its past."""
        start, count = self._starts[index], self._counts[index]
        if count == 1:
            return None
        known = (index, groups, window)
        if known not in self._masks:
            places = torch.arange(start, start + count, device=query.device)[:, None]
            seen = torch.arange(first, start + count, device=query.device)
            hidden = seen > places
            if window:
                hidden |= seen <= places - window
            mask = torch.zeros(hidden.shape, dtype=query.dtype, device=query.device)
            self._masks[known] = mask.masked_fill_(hidden, float("-inf")).repeat(groups, 1)
        return self._masks[known]


class Outline:
    """The attention of one first pass, which finds out what a model keeps of each token."""

    def __init__(self) -> None:
        """Nothing is known yet."""
        self._keys: dict[int, Tensor] = {}

    def attend(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int
    ) -> Tensor:
        """Note the keys, and compute as for a text without a past."""
        del window
        if key.shape != value.shape:
            raise _unserved("keys and values of different sizes")
        self._keys[layer] = key
        groups = query.shape[1] // key.shape[1]
        keys, values = (each.repeat_interleave(groups, dim=1) for each in (key, value))
        return scaled_dot_product_attention(query, keys, values, is_causal=True, scale=scale)

    def shape(self) -> PastShape:
        """What was found. Raises `ModelLoadFailed` when the layers keep different things."""
        layers = sorted(self._keys)
        if not layers or layers != [*range(len(layers))]:
            raise _unserved("layers without attention")
        first = self._keys[0]
        if any(key.shape != first.shape for key in self._keys.values()):
            raise _unserved("layers of different sizes")
        return PastShape(
            layers=len(layers),
            heads=first.shape[1],
            width=first.shape[3],
            dtype=first.dtype,
            device=first.device,
        )


def use_packed_attention(module: Foreign) -> None:
    """Let a model's layers attend through the `packed` argument of its calls.

    Raises `ModelLoadFailed` for an architecture that brings its own attention.
    """
    AttentionInterface.register(NAME, _attend)
    module.set_attn_implementation(NAME)
    if module.config._attn_implementation != NAME:  # noqa: SLF001 - the library tells it nowhere else
        raise _unserved("an attention of its own")


def _attend(
    module: Foreign,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    _mask: Tensor | None,
    *,
    packed: Attention | None = None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **others: Foreign,
) -> tuple[Tensor, None]:
    """The library's call: the output is `[1, T, HQ, D]`, and no weights are told."""
    if packed is None:
        raise _unserved("layers that are not told of each other's texts")
    for name in UNSERVED:
        if others.get(name) is not None:
            raise _unserved(f"attention with {name}")
    scale = query.shape[3] ** -0.5 if scaling is None else scaling
    out = packed.attend(module.layer_idx, query, key, value, scale, sliding_window or 0)
    return out.transpose(1, 2), None


def _unserved(what: str) -> ModelLoadFailed:
    return ModelLoadFailed(f"The portable chat engine cannot serve this model: it has {what}.")
