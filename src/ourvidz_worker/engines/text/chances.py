"""The chances of tokens that were drawn, and of the likeliest beside them."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ourvidz_worker.engines.text.base import Token


def with_chances(logits: Tensor, drawn: Sequence[int], asked: Sequence[int]) -> list[Token]:
    """A token for each row of logits `[B, V]`, with the `asked` likeliest of that row.

    A chance is the natural logarithm of the softmax of the logits as they are.
    """
    chances = logits.float().log_softmax(dim=1)
    own = chances.gather(1, torch.tensor(drawn, device=logits.device)[:, None])[:, 0].tolist()
    values, tokens = (each.tolist() for each in chances.topk(max(asked), dim=1))
    return [
        Token(
            id=drawn[row],
            logprob=own[row],
            top=tuple(zip(tokens[row][: asked[row]], values[row][: asked[row]], strict=True)),
        )
        for row in range(len(drawn))
    ]
