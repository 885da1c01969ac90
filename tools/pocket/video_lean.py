"""The Wan transformer's forward pass as training runs it: the same formula, fewer kernels.

One plain function of tensors, `run_block`, stands for every block of the plain and of the VACE
path: compiled once for a shape, it serves all of them. The weights are the model's own parameters,
so gradients land where the optimiser looks for them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from tools.pocket.video_types import VaceTransformer


class BlockWeights(NamedTuple):
    """One block's parameters; queries, keys and values of self attention first."""

    table: Tensor
    self_q: Tensor
    self_q_bias: Tensor
    self_k: Tensor
    self_k_bias: Tensor
    self_v: Tensor
    self_v_bias: Tensor
    self_q_norm: Tensor
    self_k_norm: Tensor
    self_out: Tensor
    self_out_bias: Tensor
    norm: Tensor
    norm_bias: Tensor
    text_q: Tensor
    text_q_bias: Tensor
    text_k: Tensor
    text_k_bias: Tensor
    text_v: Tensor
    text_v_bias: Tensor
    text_q_norm: Tensor
    text_k_norm: Tensor
    text_out: Tensor
    text_out_bias: Tensor
    widen: Tensor
    widen_bias: Tensor
    narrow: Tensor
    narrow_bias: Tensor


class Given(NamedTuple):
    """What all blocks of one pass share.

    ``words [B, L, C]``, ``bias [B, 1, 1, L]`` (see `video_models.pad_bias`), ``modulation [B, 6,
    C]``, and the rotary angles' ``cosine`` and ``sine`` ``[1, S, 1, C / heads / 2]``.
    """

    words: Tensor
    bias: Tensor
    modulation: Tensor
    cosine: Tensor
    sine: Tensor


Block = Callable[[BlockWeights, Tensor, Given, int, float], Tensor]


def weights_of(block: Any) -> BlockWeights:  # noqa: ANN401 - a block of either path
    """Return the parameters of a `WanTransformerBlock` or `WanVACETransformerBlock`."""
    own, text, feed = block.attn1, block.attn2, block.ffn.net
    return BlockWeights(
        block.scale_shift_table,
        *(own.to_q.weight, own.to_q.bias, own.to_k.weight, own.to_k.bias),
        *(own.to_v.weight, own.to_v.bias, own.norm_q.weight, own.norm_k.weight),
        *(own.to_out[0].weight, own.to_out[0].bias),
        *(block.norm2.weight, block.norm2.bias),
        *(text.to_q.weight, text.to_q.bias, text.to_k.weight, text.to_k.bias),
        *(text.to_v.weight, text.to_v.bias, text.norm_q.weight, text.norm_k.weight),
        *(text.to_out[0].weight, text.to_out[0].bias),
        *(feed[0].proj.weight, feed[0].proj.bias, feed[2].weight, feed[2].bias),
    )


def run_block(weights: BlockWeights, x: Tensor, given: Given, heads: int, eps: float) -> Tensor:
    """Return the block's output for ``x [B, S, C]``; matrix products run in the words' type."""
    w, kind = weights, given.words.dtype
    parts = (w.table + given.modulation.float()).unsqueeze(2).unbind(1)
    shift, scale, gate, feed_shift, feed_scale, feed_gate = parts
    width = x.shape[-1]
    y = (functional.layer_norm(x, (width,), eps=eps) * (1 + scale) + shift).to(kind)
    joint = torch.cat([w.self_q, w.self_k, w.self_v])
    joint_bias = torch.cat([w.self_q_bias, w.self_k_bias, w.self_v_bias])
    q, k, v = _linear(y, joint, joint_bias).chunk(3, dim=-1)
    q = _turn(_split(_rms(q, w.self_q_norm, eps), heads), given)
    k = _turn(_split(_rms(k, w.self_k_norm, eps), heads), given)
    y = _attend(q.to(kind), k.to(kind), _split(v, heads), None)
    x = x + _linear(y, w.self_out, w.self_out_bias) * gate

    y = functional.layer_norm(x, (width,), w.norm, w.norm_bias, eps).to(kind)
    q = _rms(_linear(y, w.text_q, w.text_q_bias), w.text_q_norm, eps).to(kind)
    k = _rms(_linear(given.words, w.text_k, w.text_k_bias), w.text_k_norm, eps).to(kind)
    v = _linear(given.words, w.text_v, w.text_v_bias)
    q, k, v = (_split(part, heads) for part in (q, k, v))
    x = x + _linear(_attend(q, k, v, given.bias), w.text_out, w.text_out_bias)

    y = functional.layer_norm(x, (width,), eps=eps) * (1 + feed_scale) + feed_shift
    y = functional.gelu(_linear(y.to(kind), w.widen, w.widen_bias), approximate="tanh")
    return x + _linear(y, w.narrow, w.narrow_bias) * feed_gate


class LeanFlow:
    """The whole pass: embeddings by the model's own modules, blocks by ``run``."""

    def __init__(self, transformer: VaceTransformer, run: Block = run_block) -> None:
        """Take the model whose weights are trained; ``run`` may be a compiled `run_block`."""
        self._model, self._run = transformer, run
        self._heads = int(transformer.config.num_attention_heads)
        self._eps = float(transformer.config.eps)
        self._blocks = [weights_of(block) for block in transformer.blocks]
        self._hints = [weights_of(block) for block in transformer.vace_blocks]
        self._places = tuple(transformer.config.vace_layers)

    def __call__(
        self, noisy: Tensor, times: Tensor, words: Tensor, bias: Tensor, control: Tensor | None
    ) -> Tensor:
        """Return the predicted flow of ``noisy [B, 16, T, h, w]``; other shapes as in `Given`."""
        model = self._model
        cosine, sine = model.rope(noisy)
        x = model.patch_embedding(noisy).flatten(2).transpose(1, 2).float().contiguous()
        signal, modulation, words, _ = model.condition_embedder(times, words, None)
        given = Given(
            words=words.contiguous(),
            bias=bias,
            modulation=modulation.unflatten(1, (6, -1)).float(),
            cosine=cosine[..., 0::2],
            sine=sine[..., 1::2],
        )
        hints = {} if control is None else self._hints_of(x, control, given)
        for index, weights in enumerate(self._blocks):
            x = self._run(weights, x, given, self._heads, self._eps)
            if index in hints:
                x = x + hints[index]
        shift, scale = (model.scale_shift_table + signal.float().unsqueeze(1)).chunk(2, dim=1)
        x = functional.layer_norm(x, (x.shape[-1],), eps=self._eps) * (1 + scale) + shift
        return _unpatch(model.proj_out(x), noisy)

    def _hints_of(self, x: Tensor, control: Tensor, given: Given) -> dict[int, Tensor]:
        model = self._model
        state = model.vace_patch_embedding(control).flatten(2).transpose(1, 2).float()
        hints = {}
        for place, block, weights in zip(self._places, model.vace_blocks, self._hints, strict=True):
            if block.proj_in is not None:
                state = block.proj_in(state).float() + x
            state = self._run(weights, state.contiguous(), given, self._heads, self._eps)
            hints[place] = block.proj_out(state).float()
        return hints


def _unpatch(tokens: Tensor, noisy: Tensor) -> Tensor:
    """Lay tokens of 1 x 2 x 2 latents back out as ``[B, 16, T, h, w]``."""
    batch, _, frames, height, width = noisy.shape
    cells = tokens.reshape(batch, frames, height // 2, width // 2, 1, 2, 2, -1)
    cells = cells.permute(0, 7, 1, 4, 2, 5, 3, 6)
    return cells.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return functional.linear(x, weight.to(x.dtype), bias.to(x.dtype))


def _rms(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + eps) * weight


def _split(x: Tensor, heads: int) -> Tensor:
    """Lay ``[B, S, C]`` out as ``[B, S, heads, D]``."""
    return x.reshape(*x.shape[:2], heads, -1)


def _turn(x: Tensor, given: Given) -> Tensor:
    """Apply the rotary embedding to ``[B, S, heads, D]``."""
    first, second = x.view(*x.shape[:-1], -1, 2).unbind(-1)
    turned = (
        first * given.cosine - second * given.sine,
        first * given.sine + second * given.cosine,
    )
    return torch.stack(turned, dim=-1).flatten(-2)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
    if bias is None:
        seen = functional.scaled_dot_product_attention(q, k, v)
    else:
        # Few words: written out, this is cheaper than the kernels that take a bias.
        scores = (q @ k.transpose(-1, -2)).float() * q.shape[-1] ** -0.5 + bias.float()
        seen = scores.softmax(dim=-1).to(v.dtype) @ v
    return seen.transpose(1, 2).flatten(2)
