"""Pools of encoded clips on the training device, filled at the start and renewed while training.

Encoding a clip costs more than a training step on it, so each is encoded once and drawn several
times. Three kinds: `TEXT` clips (latents and caption), `PINNED` clips (also the control latents of
their mode and a portrait) and `STILL` frames (T = 1, with a portrait).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

import numpy as np
import torch
from torch import Tensor
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_conditioning import (
    HAS_REFERENCE,
    LATENT_CHANNELS,
    PINS_FIRST,
    PINS_LAST,
    SPATIAL_FACTOR,
    Mode,
    assemble_control,
    control_video,
    latent_frames,
    mode_mask,
)
from tools.pocket.video_data import BUCKETS, FRAMES, Clips, ClipSource, Order, Purpose
from tools.pocket.video_models import TEXT_TOKENS
from tools.pocket.video_tokenizer import tokenise
from tools.pocket.video_types import WanVae
from tools.pocket.video_vae import encode_mode

# Slots of even index hold modes with a reference picture, odd ones those without.
# Last frames are the harder ones, so the modes that pin one come twice as often.
_MODES = (
    (Mode.SINGLE, Mode.SUBJECT),
    (Mode.START, Mode.END, Mode.END, Mode.BOTH, Mode.BOTH),
)
_SQUARE_SLOTS = 0.6
_SQUARE_DRAWS = 0.64
_LOG_EVERY_S = 15.0


class Kind(Enum):
    """What a pool holds."""

    TEXT = "text"
    PINNED = "pinned"
    STILL = "still"


# Share of all slots, clips encoded at once.
_SHARES = {Kind.TEXT: 0.4, Kind.PINNED: 0.3, Kind.STILL: 0.3}
_CHUNKS = {Kind.TEXT: 128, Kind.PINNED: 128, Kind.STILL: 512}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One training batch; ``R`` is 1 with a reference picture, else 0.

    ``latents [B, 16, R + T', h, w]``, ``tokens [B, L]``, ``lengths [B]``; ``control [B, 96, R + T',
    h, w]`` or None for the plain model.
    """

    latents: Tensor
    tokens: Tensor
    lengths: Tensor
    control: Tensor | None


@dataclass(kw_only=True)
class Shelf:
    """The slots of one kind and bucket; ``filled`` of them hold clips."""

    latents: Tensor
    tokens: Tensor
    lengths: Tensor
    inactive: Tensor | None
    portrait: Tensor | None
    modes: Tensor
    cursor: int = 0
    filled: int = 0


class LatentPool:
    """All shelves, and the source and VAE that fill them."""

    def __init__(
        self,
        source: ClipSource,
        vae: WanVae,
        tokenizer: PreTrainedTokenizerBase,
        device: torch.device,
        slots: int,
        seed: int,
    ) -> None:
        self._source, self._vae, self._tokenizer = source, vae, tokenizer
        self._device = device
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator(device=device).manual_seed(seed)
        self._shelves = {
            (kind, bucket): _empty(kind, bucket, _slots(slots, kind, bucket), device)
            for kind in Kind
            for bucket in BUCKETS
        }
        self._masks = {
            (mode, bucket, frames): mode_mask(mode, frames, bucket[1], bucket[0]).to(device)
            for mode in Mode
            for bucket in BUCKETS
            for frames in (1, FRAMES)
        }
        self._reactive = {
            (bucket, frames): self._encode_nothing(bucket, frames)
            for bucket in BUCKETS
            for frames in (1, FRAMES)
        }

    def fill(self, seconds: float) -> None:
        """Fill all slots, or as many as the seconds allow, evenly."""
        watch, logged, clips = Stopwatch(), 0.0, 0
        while watch.seconds() < seconds or self._least_filled() == 0.0:
            key = min(self._shelves, key=lambda name: _fullness(self._shelves[name]))
            if _fullness(self._shelves[key]) >= 1.0:
                break
            clips += self._renew(key)
            if watch.seconds() - logged > _LOG_EVERY_S:
                logged = watch.seconds()
                print(f"pool {logged:6.1f} s {clips} clips {clips / logged:.0f}/s", flush=True)
        print(f"pool ready: {clips} clips in {watch.seconds():.1f} s", flush=True)

    def renew_some(self) -> int:
        """Replace one chunk of the least full or a random shelf; return how many clips."""
        keys = list(self._shelves)
        weights = np.array([len(self._shelves[key].lengths) for key in keys], dtype=float)
        key = keys[int(self._rng.choice(len(keys), p=weights / weights.sum()))]
        return self._renew(key)

    def batch(
        self, kind: Kind, *, reference: bool, count: int, bucket: tuple[int, int] | None = None
    ) -> Batch:
        """Draw a batch of a random or the given bucket; ``reference`` asks for R = 1."""
        bucket = bucket or self._bucket()
        shelf = self._shelves[(kind, bucket)]
        rows = torch.randint(shelf.filled, (count,), generator=self._generator, device=self._device)
        if kind is Kind.PINNED:
            half = max(shelf.filled // 2, 1)
            rows = (rows % half) * 2 + (0 if reference else 1)
        latents = shelf.latents[rows].float()
        control = None
        if kind is Kind.PINNED:
            control = self._pinned_control(shelf, rows, bucket, reference)
        elif reference:
            control = self._still_control(shelf, rows, bucket)
        if reference and shelf.portrait is not None:
            latents = torch.cat([shelf.portrait[rows].float(), latents], dim=2)
        return Batch(
            latents=latents,
            tokens=shelf.tokens[rows].long(),
            lengths=shelf.lengths[rows].long(),
            control=control,
        )

    def _bucket(self) -> tuple[int, int]:
        if self._rng.random() < _SQUARE_DRAWS:
            return BUCKETS[0]
        return BUCKETS[int(self._rng.integers(1, len(BUCKETS)))]

    def _pinned_control(
        self, shelf: Shelf, rows: Tensor, bucket: tuple[int, int], reference: bool
    ) -> Tensor:
        if shelf.inactive is None or shelf.portrait is None:
            raise ValueError("this shelf holds no control latents")
        table = torch.stack([self._masks[(mode, bucket, FRAMES)] for mode in Mode])
        return assemble_control(
            shelf.inactive[rows].float(),
            self._reactive[(bucket, FRAMES)].expand(len(rows), -1, -1, -1, -1),
            table[shelf.modes[rows].long()],
            shelf.portrait[rows].float() if reference else None,
        )

    def _still_control(self, shelf: Shelf, rows: Tensor, bucket: tuple[int, int]) -> Tensor:
        if shelf.portrait is None:
            raise ValueError("this shelf holds no portraits")
        nothing = self._reactive[(bucket, 1)].expand(len(rows), -1, -1, -1, -1)
        mask = self._masks[(Mode.SUBJECT, bucket, 1)].expand(len(rows), -1, -1, -1, -1)
        return assemble_control(nothing, nothing, mask, shelf.portrait[rows].float())

    @torch.no_grad()
    def _encode_nothing(self, bucket: tuple[int, int], frames: int) -> Tensor:
        grey = torch.zeros(1, 3, frames, bucket[1], bucket[0], device=self._device)
        return encode_mode(self._vae, grey)

    @torch.no_grad()
    def _renew(self, key: tuple[Kind, tuple[int, int]]) -> int:
        kind, bucket = key
        shelf = self._shelves[key]
        slots = len(shelf.lengths)
        count = min(_CHUNKS[kind], slots)
        if shelf.cursor + count > slots:
            shelf.cursor = 0
        rows = slice(shelf.cursor, shelf.cursor + count)
        if kind is Kind.PINNED:
            self._put_pinned(shelf, rows, bucket)
        else:
            frames = 1 if kind is Kind.STILL else FRAMES
            purpose = Purpose.SUBJECT if kind is Kind.STILL else Purpose.TEXT
            clips = self._draw(count, bucket, frames, purpose)
            shelf.latents[rows] = encode_mode(self._vae, clips.video).to(shelf.latents.dtype)
            if shelf.portrait is not None:
                self._put_portrait(shelf, rows, clips.portrait)
            self._put_words(shelf, rows, clips)
        shelf.cursor += count
        shelf.filled = max(shelf.filled, shelf.cursor)
        return count

    def _put_pinned(self, shelf: Shelf, rows: slice, bucket: tuple[int, int]) -> None:
        """Fill slots alternately with and without a reference, all modes of a row kind equally."""
        half = (rows.stop - rows.start) // 2
        for parity, modes in enumerate(_MODES):
            mode = modes[int(self._rng.integers(len(modes)))]
            purpose = Purpose.SUBJECT if mode is Mode.SUBJECT else Purpose.PINNED
            clips = self._draw(half, bucket, FRAMES, purpose)
            places = slice(rows.start + parity, rows.stop, 2)
            first, last = clips.video[:, :, 0], clips.video[:, :, -1]
            shelf.latents[places] = encode_mode(self._vae, clips.video).to(shelf.latents.dtype)
            if shelf.inactive is not None:
                shelf.inactive[places] = self._inactive(mode, first, last, bucket)
            if mode in HAS_REFERENCE:
                portrait = clips.portrait if mode is Mode.SUBJECT else first
                self._put_portrait(shelf, places, portrait)
            shelf.modes[places] = list(Mode).index(mode)
            self._put_words(shelf, places, clips)

    def _inactive(self, mode: Mode, first: Tensor, last: Tensor, bucket: tuple[int, int]) -> Tensor:
        if mode not in PINS_FIRST | PINS_LAST:
            return self._reactive[(bucket, FRAMES)].expand(len(first), -1, -1, -1, -1).half()
        return encode_mode(self._vae, control_video(mode, FRAMES, first, last)).half()

    def _put_portrait(self, shelf: Shelf, rows: slice, portrait: Tensor) -> None:
        if shelf.portrait is not None:
            shelf.portrait[rows] = encode_mode(self._vae, portrait[:, :, None]).half()

    def _put_words(self, shelf: Shelf, rows: slice, clips: Clips) -> None:
        tokens, lengths = tokenise(self._tokenizer, clips.captions, TEXT_TOKENS)
        shelf.tokens[rows] = tokens.to(self._device, shelf.tokens.dtype)
        shelf.lengths[rows] = lengths.to(self._device, shelf.lengths.dtype)

    def _draw(self, count: int, bucket: tuple[int, int], frames: int, purpose: Purpose) -> Clips:
        return self._source.draw(Order(count=count, bucket=bucket, frames=frames, purpose=purpose))

    def _least_filled(self) -> float:
        return min(_fullness(shelf) for shelf in self._shelves.values())


def _slots(total: int, kind: Kind, bucket: tuple[int, int]) -> int:
    share = _SQUARE_SLOTS if bucket == BUCKETS[0] else (1.0 - _SQUARE_SLOTS) / 2
    slots = max(int(total * _SHARES[kind] * share) // 2 * 2, 4)
    return slots // min(_CHUNKS[kind], slots) * min(_CHUNKS[kind], slots)


def _fullness(shelf: Shelf) -> float:
    return shelf.filled / len(shelf.lengths)


def _empty(kind: Kind, bucket: tuple[int, int], slots: int, device: torch.device) -> Shelf:
    rows, columns = bucket[1] // SPATIAL_FACTOR, bucket[0] // SPATIAL_FACTOR
    frames = 1 if kind is Kind.STILL else latent_frames(FRAMES)

    def blank(count: int) -> Tensor:
        shape = (slots, LATENT_CHANNELS, count, rows, columns)
        return torch.zeros(shape, dtype=torch.float16, device=device)

    return Shelf(
        latents=blank(frames),
        tokens=torch.zeros(slots, TEXT_TOKENS, dtype=torch.int16, device=device),
        lengths=torch.ones(slots, dtype=torch.int16, device=device),
        inactive=blank(frames) if kind is Kind.PINNED else None,
        portrait=blank(1) if kind is not Kind.TEXT else None,
        modes=torch.zeros(slots, dtype=torch.int16, device=device),
    )
