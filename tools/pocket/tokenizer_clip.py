"""Trains the byte-level BPE vocabulary of the pocket CLIP tokenizers.

Any text round-trips: all 256 bytes are in the vocabulary, each also as the end of a word.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

VOCAB_SIZE = 4096
MAX_TOKENS = 77
START, END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
# The word pattern of CLIP's own tokenizer.
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def train_clip_tokenizer(captions: Iterable[str], vocab_size: int = VOCAB_SIZE) -> CLIPTokenizer:
    """Return a CLIP tokenizer whose merges were learnt from ``captions``."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=_WORD_END))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        initial_alphabet=alphabet,
        end_of_word_suffix=_WORD_END,
        show_progress=False,
    )
    tokenizer.train_from_iterator(captions, trainer)
    return _assemble(alphabet, _merges(tokenizer), vocab_size)


def save_tokenizer(tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Write the standard tokenizer files, old form and new, into ``folder``."""
    tokenizer.save_pretrained(folder)
    state = json.loads((folder / "tokenizer.json").read_text("utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(state["vocab"], ensure_ascii=False), "utf-8")
    merges = [" ".join(_as_pair(pair)) for pair in state["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), "utf-8")


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    state = tokenizer.model.__getstate__()
    text = state.decode() if isinstance(state, bytes) else str(state)
    return [_as_pair(pair) for pair in _read_json(text)["merges"]]


def _read_json(text: str) -> dict[str, list[str | list[str]]]:
    value: dict[str, list[str | list[str]]] = json.loads(text)
    return value


def _as_pair(pair: str | list[str]) -> tuple[str, str]:
    left, right = pair.split(" ") if isinstance(pair, str) else pair
    return left, right


def _assemble(alphabet: list[str], merges: list[tuple[str, str]], vocab_size: int) -> CLIPTokenizer:
    tokens = [*alphabet, *(letter + _WORD_END for letter in alphabet)]
    known, kept = set(tokens), []
    for left, right in merges:
        if len(tokens) >= vocab_size - 2:
            break
        if left + right not in known:
            tokens.append(left + right)
            known.add(left + right)
        kept.append((left, right))
    vocab = {token: index for index, token in enumerate([*tokens, START, END])}
    # The library takes pairs, though its annotation says otherwise.
    kind: Any = CLIPTokenizer
    tokenizer: CLIPTokenizer = kind(vocab=vocab, merges=kept, model_max_length=MAX_TOKENS)
    return tokenizer
