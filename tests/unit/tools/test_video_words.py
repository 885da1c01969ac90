"""The text encoder's head start: captions with what they speak of, and a step that learns."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tools.pocket.motion import MOTIONS
from tools.pocket.sprites import SpriteInfo
from tools.pocket.video_captions import PALETTE, example_captions
from tools.pocket.video_models import TEXT_TOKENS, TINY, build_text_encoder
from tools.pocket.video_tokenizer import load_tokenizer, train_tokenizer
from tools.pocket.video_words import WordedClips, teach_words, word_clips

INFOS = tuple(
    SpriteInfo(code=label, label=label, names=(), keywords=(), group=3, weight=1.0)
    for label in ("cat", "frog", "garlic")
)
COUNT, SEED = 40, 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("words") / "tokenizer"
    train_tokenizer(example_captions(INFOS, 600, SEED), folder)
    return folder


@pytest.fixture(scope="module")
def clips(folder: Path) -> WordedClips:
    return word_clips(INFOS, folder, COUNT, SEED)


def test_captions_speak_of_their_targets(folder: Path, clips: WordedClips) -> None:
    tokenizer = load_tokenizer(folder)
    for row, length, thing in zip(clips.tokens, clips.lengths, clips.targets[0], strict=True):
        assert INFOS[thing].label in tokenizer.decode(row[:length])
    for targets, size in zip(clips.targets, (len(INFOS), len(MOTIONS), len(PALETTE)), strict=True):
        assert 0 <= targets.min() <= targets.max() < size
    assert clips.tokens.shape == (COUNT, TEXT_TOKENS)
    assert int(clips.lengths.max()) < TEXT_TOKENS


def test_the_same_seed_words_the_same_clips(folder: Path, clips: WordedClips) -> None:
    again = word_clips(INFOS, folder, COUNT, SEED)
    assert np.array_equal(again.tokens, clips.tokens)
    assert np.array_equal(again.targets, clips.targets)
    other = word_clips(INFOS, folder, COUNT, SEED + 1)
    assert not np.array_equal(other.tokens, clips.tokens)


def test_a_lesson_changes_the_encoder(folder: Path, clips: WordedClips) -> None:
    encoder = build_text_encoder(TINY, len(load_tokenizer(folder)))
    before = [weight.detach().clone() for weight in encoder.parameters()]
    share = teach_words(encoder, clips, len(INFOS), 0.0, torch.device("cpu"))
    after = list(encoder.parameters())
    assert any(not torch.equal(*pair) for pair in zip(before, after, strict=True))
    assert 0.0 <= share <= 1.0
