"""A head start for the text encoder: naming the thing, the motion and the colour of captions.

Learnt from the flow alone, words come late: for thousands of steps what they say changes the loss
by less than a thousandth. Telling captions apart takes seconds, and the transformer then finds
the difference between two things in its input from its first step on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from tools.pocket.motion import MOTIONS
from tools.pocket.sprites import SpriteInfo
from tools.pocket.video_captions import PALETTE, MotionGrammar
from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_models import TEXT_TOKENS, TEXT_WIDTH, encode_text
from tools.pocket.video_tokenizer import load_tokenizer, tokenise
from tools.pocket.video_types import TextEncoder
from tools.pocket.vocabulary import filming_weights

LEARNING_RATE = 2e-3
BATCH = 1024
CLIP_NORM = 1.0
# Added to what is told apart, in units of its own size: what names a thing must stand out, for the
# transformer, which reads the same states, does not magnify the small.
NOISE = 0.5
# Half of the captions name all things equally often, half as often as training draws them.
_EVEN_SHARE = 0.5


@dataclass(frozen=True, kw_only=True)
class WordedClips:
    """Captions as tokens ``[N, TEXT_TOKENS]`` with their ``lengths``, and what they speak of.

    ``targets`` are indices of things, motions and colours, ``[3, N]``.
    """

    tokens: np.ndarray
    lengths: np.ndarray
    targets: np.ndarray


def word_clips(
    infos: tuple[SpriteInfo, ...], tokenizer: Path, count: int, seed: int
) -> WordedClips:
    """Word ``count`` clips with a saved tokenizer; the result depends on the seed alone."""
    rng = np.random.default_rng(seed)
    grammar = MotionGrammar(infos, seed)
    weights = np.array(filming_weights(infos))
    weights = _EVEN_SHARE / len(infos) + (1.0 - _EVEN_SHARE) * weights
    objects = rng.choice(len(infos), count, p=weights / weights.sum())
    kinds = rng.integers(len(MOTIONS), size=count)
    colours = np.array([grammar.colour(index) for index in objects])
    rows = zip(objects.tolist(), kinds.tolist(), colours.tolist(), strict=True)
    captions = [grammar.word(*row) for row in rows]
    tokens, lengths = tokenise(load_tokenizer(tokenizer), captions, TEXT_TOKENS)
    targets = np.stack([objects, kinds, colours])
    return WordedClips(tokens=tokens.numpy(), lengths=lengths.numpy(), targets=targets)


def teach_words(
    encoder: TextEncoder, clips: WordedClips, things: int, seconds: float, device: torch.device
) -> float:
    """Train the encoder to tell captions apart; return the share of things named at the end."""
    heads = [
        nn.Linear(TEXT_WIDTH, size).to(device) for size in (things, len(MOTIONS), len(PALETTE))
    ]
    tokens, lengths, targets = (
        torch.from_numpy(values).to(device)
        for values in (clips.tokens, clips.lengths, clips.targets)
    )
    weights = [*encoder.parameters(), *(weight for head in heads for weight in head.parameters())]
    optimiser = torch.optim.AdamW(weights, lr=LEARNING_RATE, fused=True)
    watch, step, share = Stopwatch(), 0, 0.0
    right = torch.zeros((), device=device)
    while watch.seconds() < seconds or step == 0:
        share = min(watch.seconds() / seconds, 1.0) if seconds > 0 else 1.0
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * max(1.0 - share, 0.02)
        rows = torch.randint(len(tokens), (min(BATCH, len(tokens)),), device=device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            states = encode_text(encoder, tokens[rows], lengths[rows]).float()
        pooled = states.sum(dim=1) / lengths[rows, None]
        size = pooled.detach().square().mean().sqrt()
        heard = pooled + NOISE * size * torch.randn_like(pooled)
        told = [head(heard) for head in heads]
        loss = torch.stack(
            [
                functional.cross_entropy(one, target[rows])
                for one, target in zip(told, targets, strict=True)
            ]
        ).sum()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(weights, CLIP_NORM)
        optimiser.step()
        right = (told[0].argmax(dim=1) == targets[0][rows]).float().mean()
        step += 1
    named = float(right)
    print(f"words: {step} steps, {named:.1%} of things named", flush=True)
    return named
