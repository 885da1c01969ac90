"""Training data of the image model: a bank of worded scenes, and batches drawn from it."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import torch
from transformers import CLIPTokenizer

from tools.pocket.captions import CaptionGrammar
from tools.pocket.compose import SceneBatch
from tools.pocket.sprites import SpriteInfo
from tools.pocket.tokenizer_clip import MAX_TOKENS

_PART = 10_000
_EVAL_SEED = 1_000_003


@dataclass(frozen=True)
class CaptionBank:
    """Worded scenes: token ids int16 ``[N, MAX_TOKENS]`` padded with the end token, and scenes."""

    ids: torch.Tensor
    scenes: SceneBatch

    @property
    def size(self) -> int:
        """How many scenes there are."""
        return int(self.ids.shape[0])

    def to(self, device: torch.device) -> CaptionBank:
        """Return the same bank on ``device``."""
        return CaptionBank(self.ids.to(device), self.scenes.to(device))

    def draw(self, count: int, generator: torch.Generator) -> CaptionBank:
        """Return ``count`` random rows."""
        index = torch.randint(self.size, (count,), generator=generator, device=self.ids.device)
        return CaptionBank(self.ids[index], self.scenes.rows(index))


def sample_captions(infos: tuple[SpriteInfo, ...], count: int, seed: int) -> list[str]:
    """Return captions for training a tokenizer, from a seed of their own."""
    grammar = CaptionGrammar(infos, seed + _EVAL_SEED)
    return [grammar.draw()[0] for _ in range(count)]


def build_bank(
    infos: tuple[SpriteInfo, ...], tokenizer: CLIPTokenizer, count: int, seed: int, workers: int
) -> CaptionBank:
    """Draw and word ``count`` scenes with several processes; the result depends on seed alone."""
    jobs = [
        (infos, min(_PART, count - start), seed * _EVAL_SEED + start)
        for start in range(0, count, _PART)
    ]
    if workers <= 1:
        parts = [_bank_part(job) for job in jobs]
    else:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            parts = list(pool.map(_bank_part, jobs))
    captions = [caption for words, _ in parts for caption in words]
    names = SceneBatch.__dataclass_fields__
    scenes = SceneBatch(
        *(torch.cat([torch.from_numpy(arrays[name]) for _, arrays in parts]) for name in names)
    )
    return CaptionBank(token_ids(tokenizer, captions).to(torch.int16), scenes)


def token_ids(tokenizer: CLIPTokenizer, captions: list[str]) -> torch.Tensor:
    """Return token ids int64 ``[N, MAX_TOKENS]``, padded as the SDXL pipeline pads."""
    encoded = tokenizer(
        captions, padding="max_length", max_length=MAX_TOKENS, truncation=True, return_tensors="pt"
    )
    ids: torch.Tensor = encoded.input_ids
    return ids


def _bank_part(job: tuple[tuple[SpriteInfo, ...], int, int]) -> tuple[list[str], dict]:  # type: ignore[type-arg]
    infos, count, seed = job
    grammar = CaptionGrammar(infos, seed)
    drawn = [grammar.draw() for _ in range(count)]
    batch = SceneBatch.of([scene for _, scene in drawn])
    arrays = {name: getattr(batch, name).numpy() for name in batch.__dataclass_fields__}
    return [caption for caption, _ in drawn], arrays
