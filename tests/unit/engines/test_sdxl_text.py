"""Prompts of any length, on both encoders; weights act on tokens, not on the text."""

from typing import Any

import pytest
import torch
from tests.unit.engines.engine_bench import Loose

from ourvidz_worker.domain.errors import InvalidPrompt
from ourvidz_worker.engines import Engine
from ourvidz_worker.engines.sdxl_text import CHUNK, ClipPair
from ourvidz_worker.engines.sdxl_weighting import parse_weights, unweighted

WORD = "red "


@pytest.fixture
def pair(sdxl_engine: Engine[Any]) -> ClipPair:
    found: ClipPair = sdxl_engine._loaded.text  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize(
    ("words", "chunks"), [(0, 1), (1, 1), (75, 1), (76, 2), (150, 2), (151, 3), (1024, 14)]
)
def test_chunks_of_75_between_marks(pair: ClipPair, words: int, chunks: int) -> None:
    (tokens,) = pair.tokenise([unweighted(WORD * words)])
    assert tokens.count == words
    for encoder, pad in zip(tokens.chunks, (None, "!"), strict=True):
        assert len(encoder) == chunks
        for number, chunk in enumerate(encoder):
            used = min(max(words - number * CHUNK, 0), CHUNK)
            assert len(chunk.ids) == CHUNK + 2
            begin, end = chunk.ids[0], chunk.ids[1 + used]
            assert begin != end
            assert set(chunk.ids[2 + used :]) <= {end if pad is None else chunk.ids[-1]}


def test_both_texts_have_the_same_number_of_chunks(pair: ClipPair) -> None:
    prompt, negative = pair.tokenise([unweighted(WORD * 100), unweighted("bad")])
    assert [len(each.chunks[0]) for each in (prompt, negative)] == [2, 2]
    assert pair.encode(prompt).hidden.shape == pair.encode(negative).hidden.shape == (1, 154, 64)


def test_more_than_1024_tokens_are_refused_with_the_count(pair: ClipPair) -> None:
    with pytest.raises(InvalidPrompt, match="1025 tokens"):
        pair.tokenise([unweighted(WORD * 1025)])
    with pytest.raises(InvalidPrompt, match="1100 tokens"):
        pair.tokenise([unweighted("x"), unweighted(WORD * 1100)])
    (cut,) = pair.tokenise([unweighted(WORD * 1025)], truncate=True)
    assert (cut.count, cut.truncated, len(cut.chunks[0])) == (1025, True, 14)


def test_the_pooled_vector_is_the_first_chunk_s(pair: ClipPair) -> None:
    long, short = (pair.encode(pair.tokenise([unweighted(WORD * words)])[0]) for words in (100, 75))
    assert torch.equal(long.pooled, short.pooled)
    assert torch.equal(long.hidden[:, :77], short.hidden)
    assert long.hidden[:, 77:].abs().max() > 0
    assert long.zeros().hidden.abs().max() == 0


def _encoded(pair: ClipPair, text: str) -> Loose:
    return pair.encode(pair.tokenise([parse_weights(text)])[0])


def test_a_weight_moves_its_own_tokens_away_from_the_empty_prompt(pair: ClipPair) -> None:
    plain, empty = _encoded(pair, "a red apple"), _encoded(pair, "")
    strong = _encoded(pair, "a (red:1.5) apple")
    assert torch.equal(strong.pooled, plain.pooled)
    changed = (strong.hidden != plain.hidden).any(dim=-1)[0]
    assert changed.nonzero().flatten().tolist() == [2]
    expected = empty.hidden[0, 2] + 1.5 * (plain.hidden[0, 2] - empty.hidden[0, 2])
    assert torch.allclose(strong.hidden[0, 2], expected)
    assert torch.equal(_encoded(pair, "a (red:1.0) apple").hidden, plain.hidden)


def test_a_weight_follows_its_tokens_across_a_chunk_s_border(pair: ClipPair) -> None:
    plain = _encoded(pair, WORD * 80)
    strong = _encoded(pair, WORD * 70 + f"({WORD * 10}:2)")
    changed = (strong.hidden != plain.hidden).any(dim=-1)[0].nonzero().flatten().tolist()
    assert changed == [*range(71, 76), *range(78, 83)]


def test_the_digest_is_of_the_exact_ids(pair: ClipPair) -> None:
    one, again, other = (pair.tokenise([unweighted(text)])[0] for text in ("a", "a", "b"))
    assert one.digests() == again.digests()
    assert set(one.digests()) == {"text_encoder", "text_encoder_2"}
    assert one.digests()["text_encoder"] != other.digests()["text_encoder"]
    assert set(one.digests(":negative")) == {"text_encoder:negative", "text_encoder_2:negative"}
