"""Text is encoded as plain text, whatever control token it imitates."""

import hashlib

import pytest
from tests.unit.engines.engine_bench import Loose

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.tokens import PlainText, ids_digest
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


def test_a_digest_is_over_decimal_ids_with_commas() -> None:
    assert ids_digest((1, 23, 4)) == hashlib.sha256(b"1,23,4").hexdigest()


def test_a_tokenizer_without_a_description_is_refused() -> None:
    with pytest.raises(ModelLoadFailed, match=r"tokenizer\.json"):
        PlainText(object())
