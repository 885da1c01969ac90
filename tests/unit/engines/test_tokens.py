"""Text is encoded as plain text, whatever control token it imitates."""

import hashlib
import re

import pytest
from tests.unit.engines.engine_bench import Loose
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ourvidz_worker.domain.errors import InvalidPrompt, ModelLoadFailed
from ourvidz_worker.engines.tokens import PlainText, TokenBytes, byte_alphabet, ids_digest
from ourvidz_worker.testing.tiny_tokenizers import (
    CORPUS,
    chatml_tokenizer,
    clip_tokenizer,
    llama_tokenizer,
    umt5_tokenizer,
)

TOKENIZERS = {
    "chatml": chatml_tokenizer(),
    "clip": clip_tokenizer(pad="!"),
    "llama": llama_tokenizer(),
    "umt5": umt5_tokenizer(),
}


def _control_ids(tokenizer: Loose) -> set[int]:
    return set(tokenizer.added_tokens_decoder)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_no_control_token_can_be_written_in_a_text(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    plain = PlainText(tokenizer)
    for token in tokenizer.added_tokens_decoder.values():
        if token.content == "!":
            continue
        forged = plain.encode(f"a {token.content} b{token.content}{token.content}")
        unknown = {tokenizer.unk_token_id} - {None}
        assert not set(forged) & (_control_ids(tokenizer) - unknown), token.content
    matched = tokenizer("x" + tokenizer.eos_token, add_special_tokens=False).input_ids
    assert tokenizer.eos_token_id in matched, "the library itself does match them"


@pytest.mark.parametrize("name", TOKENIZERS)
def test_ordinary_text_has_the_ids_the_model_knows(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    plain = PlainText(tokenizer)
    for text in CORPUS:
        assert plain.encode(text) == tokenizer(text, add_special_tokens=False).input_ids


def test_a_character_without_a_token_is_refused_not_dropped() -> None:
    """P-3: a byte-level vocabulary that lacks bytes would leave them out in silence."""
    known = [piece for piece, byte in byte_alphabet().items() if byte not in {0x04, 0xF1}]
    vocabulary = {piece: index for index, piece in enumerate(known)}
    backend = Tokenizer(models.BPE(vocabulary, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    fast: Loose = PreTrainedTokenizerFast
    plain = PlainText(fast(tokenizer_object=backend))
    assert plain.encode("a é\n") == [vocabulary[piece] for piece in ("a", "Ġ", "Ã", "©", "Ċ")]
    for text, named in (("a\x04b", "U+0004"), ("\U00040000", "U+40000")):
        with pytest.raises(InvalidPrompt, match=re.escape(named)):
            plain.encode(text)


def test_a_digest_is_over_decimal_ids_with_commas() -> None:
    assert ids_digest((1, 23, 4)) == hashlib.sha256(b"1,23,4").hexdigest()


def test_a_tokenizer_without_a_description_is_refused() -> None:
    with pytest.raises(ModelLoadFailed, match=r"tokenizer\.json"):
        PlainText(object())


@pytest.mark.parametrize("name", ["chatml", "llama"])
def test_the_bytes_of_the_tokens_of_a_text_are_those_of_the_text(name: str) -> None:
    tokenizer = TOKENIZERS[name]
    plain, bytes_of = PlainText(tokenizer), TokenBytes(tokenizer)
    for text in CORPUS:
        parts = [bytes_of(token) for token in plain.encode(text)]
        assert b"".join(parts) == text.encode()
    assert any(not _is_text(bytes_of(token)) for token in plain.encode("🎉")), "a character's part"
    assert bytes_of(tokenizer.eos_token_id) == tokenizer.eos_token.encode()
    assert bytes_of(10**6) == b""


def test_the_bytes_of_tokens_of_a_tokenizer_of_pieces() -> None:
    pieces = {"<unk>": 0, "\u2581hello": 1, "<0xF0>": 2, "\u2581": 3}
    backend = Tokenizer(models.BPE(vocab=pieces, merges=[], unk_token="<unk>"))
    backend.decoder = decoders.Metaspace()
    wrap: Loose = PreTrainedTokenizerFast
    bytes_of = TokenBytes(wrap(tokenizer_object=backend))
    assert [bytes_of(token) for token in (1, 2, 3)] == [b" hello", b"\xf0", b" "]


def test_the_alphabet_of_bytes_is_that_of_the_library() -> None:
    assert set(byte_alphabet()) == set(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(byte_alphabet().values()) == list(range(256))


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
