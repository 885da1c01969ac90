"""The room of what a text has computed."""

import torch

from ourvidz_worker.engines.text.past import Past, PastShape

SHAPE = PastShape(layers=2, heads=3, width=4, dtype=torch.float32, device=torch.device("cpu"))
TOKEN_BYTES = 2 * 2 * 3 * 4 * 4


def filled(length: int, room: int) -> Past:
    past = Past(SHAPE, room)
    past.values.copy_(torch.randn(past.values.shape, generator=torch.Generator().manual_seed(1)))
    past.length = length
    return past


def test_growing_keeps_what_is_computed_and_gives_more_than_asked() -> None:
    past = filled(10, 10)
    before = past.values.clone()
    past.reserve(10)
    assert past.size_bytes == 10 * TOKEN_BYTES
    past.reserve(11)
    assert past.size_bytes == 15 * TOKEN_BYTES
    assert torch.equal(past.values[..., :10, :], before)
    past.reserve(100)
    assert past.size_bytes == 100 * TOKEN_BYTES
    assert torch.equal(past.values[..., :10, :], before)


def test_trimming_gives_back_room_where_it_is_worth_a_copy() -> None:
    past = filled(10, 100)
    before = past.values[..., :10, :].clone()
    past.trim()
    assert (past.size_bytes, past.length) == (10 * TOKEN_BYTES, 10)
    assert torch.equal(past.values, before)
    tight = filled(10, 14)
    tight.trim()
    assert tight.size_bytes == 14 * TOKEN_BYTES


def test_a_text_takes_over_the_beginning_of_another() -> None:
    source, past = filled(10, 12), Past(SHAPE, 20)
    past.take_over(source, 7)
    assert past.length == 7
    assert torch.equal(past.values[..., :7, :], source.values[..., :7, :])
