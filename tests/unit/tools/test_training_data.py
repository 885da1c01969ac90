"""What trainers draw from: clips and encoded pictures that are used several times, then renewed."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tools.pocket.captions import PLAIN, is_held_out
from tools.pocket.compose import BUCKETS as SIZES
from tools.pocket.compose import Composer, SceneBatch
from tools.pocket.image_data import CaptionBank
from tools.pocket.image_model import (
    LATENT_CHANNELS,
    ImageShape,
    build_vae,
    tiny_shape,
)
from tools.pocket.image_pool import REUSE, ImagePool
from tools.pocket.image_vae import VaeTrainer
from tools.pocket.sprites import SPRITE_PX, SpriteInfo, SpritePack
from tools.pocket.training import Budget, TrainingLog
from tools.pocket.video_data import BUCKETS, FRAMES, ClipSource, Order, Purpose
from tools.pocket.video_stock import ClipStock

CPU = torch.device("cpu")
LABELS = ("cat", "frog", "garlic")


def pack() -> SpritePack:
    infos = tuple(
        SpriteInfo(code=label, label=label, names=(), keywords=(), group=3, weight=1.0)
        for label in LABELS
    )
    return SpritePack(
        infos=infos, rgba=torch.full((3, 4, SPRITE_PX, SPRITE_PX), 255, dtype=torch.uint8)
    )


class Pixels:
    """Stands in for an autoencoder: the latents are the picture, coarsely."""

    def encode(self, picture: torch.Tensor) -> SimpleNamespace:
        cells = torch.nn.functional.avg_pool2d(picture.mean(1, keepdim=True), 8)
        latents = cells.expand(-1, LATENT_CHANNELS, -1, -1)
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: latents))


def bank(count: int = 8) -> CaptionBank:
    """Scenes without a sprite; the token ids are the colour."""
    colours = torch.arange(count) % PLAIN
    none = torch.full((count, 3), -1)
    scenes = SceneBatch(
        none, none * 0, none * 0 + 1, none * 0.0, colours, torch.zeros(count, dtype=torch.int8)
    )
    return CaptionBank(colours[:, None].expand(-1, 77).to(torch.int16), scenes)


def image_pool(divisor: int) -> ImagePool:
    generator = torch.Generator().manual_seed(1)
    return ImagePool(Composer(pack().rgba, CPU), Pixels(), bank(), generator, divisor)


def test_latents_and_captions_stay_together() -> None:
    pool = image_pool(64)
    pool.fill(Budget(0.0))
    latents, ids = pool.draw(SIZES[0], 64)
    means = latents.mean((1, 2, 3))
    colours = set(ids[:, 0].tolist())
    for colour in colours:
        same = means[ids[:, 0] == colour]
        assert float(same.max() - same.min()) < 0.2
    assert len(colours) > 1
    assert float(means.max() - means.min()) > 0.5


def test_a_picture_is_used_several_times_and_then_replaced() -> None:
    pool = image_pool(512)
    made: list[tuple[int, int]] = []
    renew = pool._renew

    def counted(bucket: tuple[int, int]) -> int:
        made.append(bucket)
        return renew(bucket)

    pool._renew = counted  # type: ignore[method-assign]  # a spy
    pool.fill(Budget(0.0))
    filled = len(made)
    for _ in range(2 * REUSE):
        pool.draw(SIZES[1], 1)
    assert made[filled:] == [SIZES[1]] * 2


def test_clips_never_show_a_held_out_pair() -> None:
    source = ClipSource(pack(), CPU, 3)
    order = Order(count=200, bucket=(16, 16), frames=1, purpose=Purpose.TEXT)
    objects, _, colours = source._choose(order)
    pairs = set(zip(objects.tolist(), colours.tolist(), strict=True))
    assert len(pairs) > 20
    assert not [pair for pair in pairs if is_held_out(LABELS[pair[0]], pair[1])]


@pytest.mark.parametrize("frames", [1, 5, FRAMES])
def test_shorter_clips_are_windows_of_long_ones(frames: int) -> None:
    stock = ClipStock(ClipSource(pack(), CPU, 3), np.random.default_rng(4), divisor=32)
    bucket = BUCKETS[0]
    whole = stock._clips[bucket].float()
    drawn = stock.draw(bucket, frames, 3)
    assert drawn.shape == (3, 3, frames, bucket[1], bucket[0])
    windows = [whole[:, :, begin : begin + frames] for begin in range(FRAMES - frames + 1)]
    for clip in drawn:
        assert any(bool((clip == row).all()) for window in windows for row in window)


def test_clips_are_renewed_in_turn() -> None:
    stock = ClipStock(ClipSource(pack(), CPU, 3), np.random.default_rng(4), divisor=32)
    bucket = BUCKETS[0]
    before = stock._clips[bucket].clone()
    stock._renew(bucket)
    changed = (stock._clips[bucket] != before).flatten(1).any(1).tolist()
    assert changed == [index < stock._chunk for index in range(len(before))]


def test_tuning_the_decoder_leaves_the_latents_alone(tmp_path: Path) -> None:
    shape: ImageShape = tiny_shape(64, 0, 1)
    vae = build_vae(shape)
    composer = Composer(pack().rgba, CPU)
    log = TrainingLog(tmp_path / "log.jsonl")
    trainer = VaeTrainer(vae, composer, bank(), log, torch.Generator().manual_seed(1), 2)
    picture = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        latents = vae.encode(picture).latent_dist.mode()
        shown = vae.decode(latents).sample
    assert trainer.tune_decoder(Budget(0.0), 1) == 1
    with torch.no_grad():
        assert torch.equal(vae.encode(picture).latent_dist.mode(), latents)
        assert not torch.equal(vae.decode(latents).sample, shown)
