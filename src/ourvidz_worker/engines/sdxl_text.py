"""SDXL's text: two CLIP encoders, prompts of any length in chunks of 75 tokens (S-3)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor

from ourvidz_worker.domain.errors import InvalidPrompt
from ourvidz_worker.engines.device import Foreign
from ourvidz_worker.engines.sdxl_weighting import Span
from ourvidz_worker.engines.tokens import PlainText, ids_digest

CHUNK = 75
"""Tokens of text in one chunk, between the beginning and the end mark."""

MAX_TOKENS = 1024
"""Longer prompts are refused (S-3)."""

PENULTIMATE = -2
"""Which hidden states SDXL was trained on."""


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """What one encoder is fed at once: 77 ids, and how much each of them counts."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class PromptTokens:
    """One text as both encoders will see it; `count` is its length in tokens before any cut."""

    count: int
    truncated: bool
    chunks: tuple[tuple[Chunk, ...], ...]

    def digests(self, suffix: str = "") -> dict[str, str]:
        """Encoder to digest of the exact ids, all chunks in order."""
        names = ("text_encoder", "text_encoder_2")
        return {
            f"{name}{suffix}": ids_digest(token for chunk in chunks for token in chunk.ids)
            for name, chunks in zip(names, self.chunks, strict=True)
        }


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """A text for the UNet: hidden states `[1, 77 n, C]` and the pooled vector `[1, P]`."""

    hidden: Tensor
    pooled: Tensor

    def zeros(self) -> Self:
        """The embedding of an absent text, as SDXL was trained with it."""
        return replace(
            self, hidden=torch.zeros_like(self.hidden), pooled=torch.zeros_like(self.pooled)
        )


@dataclass(frozen=True, kw_only=True)
class ClipMarks:
    """The ids a CLIP tokenizer puts around a text."""

    begin: int
    end: int
    pad: int


class ClipPair:
    """Both encoders with their tokenizers; hidden states are the penultimate ones of each."""

    def __init__(self, tokenizers: Sequence[Foreign], encoders: Sequence[Foreign]) -> None:
        """Two tokenizers and two encoders, CLIP-L first."""
        self.encoders = tuple(encoders)
        self._plain = tuple(PlainText(tokenizer) for tokenizer in tokenizers)
        self._marks = tuple(
            ClipMarks(
                begin=tokenizer.bos_token_id,
                end=tokenizer.eos_token_id,
                pad=tokenizer.pad_token_id,
            )
            for tokenizer in tokenizers
        )

    def tokenise(
        self, texts: Sequence[Sequence[Span]], *, truncate: bool = False
    ) -> tuple[PromptTokens, ...]:
        """The tokens of several texts, all brought to the same number of chunks.

        Raises `InvalidPrompt` for a text of more than 1024 tokens unless `truncate`.
        """
        rows = [[_weighted_ids(plain, spans) for plain in self._plain] for spans in texts]
        counts = [max(map(len, row)) for row in rows]
        if max(counts) > MAX_TOKENS and not truncate:
            raise InvalidPrompt(
                f"The prompt has {max(counts)} tokens; at most {MAX_TOKENS} are allowed.",
                field="prompt",
            )
        chunks = max(1, -(-min(max(counts), MAX_TOKENS) // CHUNK))
        return tuple(
            PromptTokens(
                count=count,
                truncated=count > MAX_TOKENS,
                chunks=tuple(
                    _chunked(ids[:MAX_TOKENS], marks, chunks)
                    for ids, marks in zip(row, self._marks, strict=True)
                ),
            )
            for row, count in zip(rows, counts, strict=True)
        )

    def encode(self, tokens: PromptTokens) -> Embedding:
        """One text's embedding; every chunk is a call of its own, so that none sees another.

        The pooled vector is the second encoder's of its first chunk, never weighted.
        """
        hidden = []
        for encoder, marks, chunks in zip(self.encoders, self._marks, tokens.chunks, strict=True):
            states = [_hidden(encoder, marks, chunk) for chunk in chunks]
            hidden.append(torch.cat(states, dim=1))
        first = tokens.chunks[-1][0]
        pooled: Tensor = _run(self.encoders[-1], first).text_embeds
        return Embedding(hidden=torch.cat(hidden, dim=-1), pooled=pooled)


def _weighted_ids(plain: PlainText, spans: Sequence[Span]) -> list[tuple[int, float]]:
    return [(token, span.weight) for span in spans for token in plain.encode(span.text)]


def _chunked(tokens: list[tuple[int, float]], marks: ClipMarks, chunks: int) -> tuple[Chunk, ...]:
    pieces = [tokens[index * CHUNK : (index + 1) * CHUNK] for index in range(chunks)]
    return tuple(_filled(piece, marks) for piece in pieces)


def _filled(tokens: Sequence[tuple[int, float]], marks: ClipMarks) -> Chunk:
    rest = CHUNK - len(tokens)
    ids = (marks.begin, *(token for token, _ in tokens), marks.end, *(marks.pad,) * rest)
    weights = (1.0, *(weight for _, weight in tokens), 1.0, *(1.0,) * rest)
    return Chunk(ids=ids, weights=weights)


def _hidden(encoder: Foreign, marks: ClipMarks, chunk: Chunk) -> Tensor:
    states: Tensor = _run(encoder, chunk).hidden_states[PENULTIMATE]
    if all(weight == 1.0 for weight in chunk.weights):
        return states
    empty = _run(encoder, _filled((), marks)).hidden_states[PENULTIMATE]
    weights = torch.tensor(chunk.weights, device=states.device, dtype=states.dtype)[None, :, None]
    # What counts once keeps its bits.
    return torch.where(weights == 1, states, empty + weights * (states - empty))


def _run(encoder: Foreign, chunk: Chunk) -> Foreign:
    ids = torch.tensor([chunk.ids], dtype=torch.long, device=encoder.device)
    return encoder(ids, output_hidden_states=True)
