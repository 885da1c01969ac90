"""The video models' tokenizer: a Unigram vocabulary learnt from captions, saved as T5's class.

T5's class keeps only a compiled character map as normaliser, so lower-casing is written as one: a
little-endian length, a double-array trie of 32-bit units (`_lower_case_map`), then the replacement
strings, each ended by a zero byte.
"""

from __future__ import annotations

import json
import string
import struct
from collections.abc import Iterable
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import Tensor
from transformers import (  # type: ignore[attr-defined]  # one is an alias made at run time
    AutoTokenizer,
    T5TokenizerFast,
)
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

VOCABULARY = 3584
MODEL_MAX_LENGTH = 512
_SPECIAL = ["<pad>", "</s>", "<unk>"]
_TRIE_UNITS, _CHILDREN, _LEAVES = 1024, 256, 768
_OFFSET_SHIFT, _HAS_LEAF, _FIRST_STRING = 10, 1 << 8, 128


def train_tokenizer(captions: Iterable[str], folder: Path) -> None:
    """Learn a Unigram vocabulary of lower-case pieces and save it as a T5 tokenizer folder."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Precompiled(_lower_case_map())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.WhitespaceSplit(),
            pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True),
        ]
    )
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=_SPECIAL,
        unk_token="<unk>",  # noqa: S106 - a piece of text, not a secret
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789-',.&!?():/"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    _save(tokenizer, folder)


def _save(tokenizer: Tokenizer, folder: Path) -> None:
    pieces = [(piece, score) for piece, score in json.loads(tokenizer.to_str())["model"]["vocab"]]
    fast = T5TokenizerFast(
        vocab=pieces,
        extra_ids=0,
        model_max_length=MODEL_MAX_LENGTH,
        _spm_precompiled_charsmap=_lower_case_map(),
    )
    fast.save_pretrained(folder)


def _lower_case_map() -> bytes:
    """Return the character map A..Z to a..z.

    A unit holds a label (bits 0-7), a leaf flag (bit 8) and an offset (from bit 10); the child by
    byte c stands at ``position ^ offset ^ c``, its leaf unit (the place of the replacement) at
    ``child ^ child's offset``. Leaf values start at 128 so that none equals an ASCII label.
    """
    units = [0] * _TRIE_UNITS
    units[0] = _CHILDREN << _OFFSET_SHIFT
    strings = bytearray(_FIRST_STRING)
    for index, capital in enumerate(string.ascii_uppercase):
        child, leaf = _CHILDREN ^ ord(capital), _LEAVES + index
        units[child] = ((child ^ leaf) << _OFFSET_SHIFT) | _HAS_LEAF | ord(capital)
        units[leaf] = len(strings)
        strings += capital.lower().encode() + b"\0"
    trie = struct.pack(f"<{_TRIE_UNITS}I", *units)
    return struct.pack("<I", len(trie)) + trie + bytes(strings)


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """Load a saved tokenizer folder as any user would."""
    return AutoTokenizer.from_pretrained(folder)


def tokenise(
    tokenizer: PreTrainedTokenizerBase, captions: list[str], tokens: int
) -> tuple[Tensor, Tensor]:
    """Return token rows ``[B, tokens]`` and their lengths ``[B]``, at most ``tokens - 1``.

    The last place always stays a pad, which `video_models.pad_bias` needs.
    """
    rows = tokenizer(captions, truncation=True, max_length=tokens - 1)["input_ids"]
    table = torch.zeros(len(rows), tokens, dtype=torch.long)
    for index, row in enumerate(rows):
        table[index, : len(row)] = torch.tensor(row)
    return table, torch.tensor([len(row) for row in rows])
