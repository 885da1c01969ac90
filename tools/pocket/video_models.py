"""The pocket Wan models: their sizes, how they start, how the plain model shares the VACE one.

Training pads captions to few tokens: Wan pads the text with zeros to a fixed length and attends to
every pad alike, so n equal pads weigh as much as one pad whose logit is raised by log n.
`pad_bias` is that bias, which makes every padded length available at the price of one pad.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from tools.pocket.video_conditioning import CONTROL_CHANNELS, LATENT_CHANNELS
from tools.pocket.video_types import PlainTransformer, TextEncoder, VaceTransformer, WanVae

TEXT_TOKENS = 32
# The worker pads to 64; other programs may pad to more.
PADDED_LENGTHS = (64, 64, 64, 64, 128, 512)
TEXT_WIDTH = 128
_EMBED_STD = 0.02


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of one set of models; the defaults keep fp16 weights under 28 MB."""

    heads: int = 4
    head_width: int = 64
    ffn: int = 608
    layers: int = 8
    vace_layers: tuple[int, ...] = (0, 4)
    encoder_width: int = 32
    decoder_width: int = 32
    widths: tuple[int, ...] = (1, 2, 2, 2)
    vae_blocks: int = 1
    text_layers: int = 4


TINY = Sizes(
    heads=2, head_width=16, ffn=64, layers=3, vace_layers=(0, 2), encoder_width=8, decoder_width=8
)


def build_vae(sizes: Sizes) -> WanVae:
    """Return an untrained Wan VAE: 8 x 8 pixels and 4 frames to one latent of 16 channels."""
    return AutoencoderKLWan(  # type: ignore[no-untyped-call]  # diffusers has no types
        base_dim=sizes.encoder_width,
        decoder_base_dim=sizes.decoder_width,
        dim_mult=list(sizes.widths),
        num_res_blocks=sizes.vae_blocks,
        z_dim=LATENT_CHANNELS,
        latents_mean=[0.0] * LATENT_CHANNELS,
        latents_std=[1.0] * LATENT_CHANNELS,
    )


def build_transformer(sizes: Sizes) -> VaceTransformer:
    """Return an untrained VACE transformer, initialised as Wan is, its hints starting at zero."""
    model = WanVACETransformer3DModel(  # type: ignore[no-untyped-call]  # diffusers has no types
        patch_size=(1, 2, 2),
        num_attention_heads=sizes.heads,
        attention_head_dim=sizes.head_width,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=256,
        ffn_dim=sizes.ffn,
        num_layers=sizes.layers,
        cross_attn_norm=True,
        vace_layers=list(sizes.vace_layers),
        vace_in_channels=CONTROL_CHANNELS,
    )
    _initialise(model)
    return model


def _initialise(model: VaceTransformer) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for convolution in (model.patch_embedding, model.vace_patch_embedding):
        nn.init.xavier_uniform_(convolution.weight.flatten(1))
    embedder = model.condition_embedder
    for layer in (embedder.time_embedder.linear_1, embedder.time_embedder.linear_2):
        nn.init.normal_(layer.weight, std=_EMBED_STD)
    nn.init.zeros_(model.proj_out.weight)
    for block in model.vace_blocks:
        nn.init.zeros_(block.proj_out.weight)


def plain_view(vace: VaceTransformer) -> PlainTransformer:
    """Return the plain Wan transformer whose modules are the VACE transformer's own."""
    names: tuple[str, ...]
    names = ("patch_size", "num_attention_heads", "attention_head_dim", "in_channels")
    names += ("out_channels", "text_dim", "freq_dim", "ffn_dim", "num_layers", "cross_attn_norm")
    with torch.device("meta"):
        build: PlainTransformer = WanTransformer3DModel
        plain = build(**{name: vace.config[name] for name in names})
    for name in ("rope", "patch_embedding", "condition_embedder", "blocks", "norm_out", "proj_out"):
        setattr(plain, name, getattr(vace, name))
    plain.scale_shift_table = vace.scale_shift_table
    return plain


def build_text_encoder(sizes: Sizes, vocabulary: int) -> TextEncoder:
    """Return an untrained UMT5 encoder, 128 wide."""
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=TEXT_WIDTH,
        d_kv=32,
        num_heads=4,
        d_ff=256,
        num_layers=sizes.text_layers,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        tie_word_embeddings=True,  # type: ignore[call-arg]  # reaches the base class, untyped
    )
    return UMT5EncoderModel(config)


def pad_bias(lengths: Tensor, padded_length: int, tokens: int = TEXT_TOKENS) -> Tensor:
    """Return the bias ``[B, 1, 1, tokens]`` that stands for a text padded to ``padded_length``.

    Real tokens get 0, the first pad log(padded_length - length), further pads -inf. ``lengths``
    ``[B]`` must be below ``tokens``.
    """
    place = torch.arange(tokens, device=lengths.device)[None, :]
    pads = (padded_length - lengths[:, None]).float().log()
    bias = torch.where(place == lengths[:, None], pads, torch.zeros_like(pads))
    bias = bias.masked_fill(place > lengths[:, None], -math.inf)
    return bias[:, None, None, :]


def encode_text(encoder: UMT5EncoderModel, tokens: Tensor, lengths: Tensor) -> Tensor:
    """Return the embeddings ``[B, L, 128]`` of token rows ``[B, L]``, zero beyond each length."""
    place = torch.arange(tokens.shape[1], device=tokens.device)[None, :]
    real = place < lengths[:, None]
    states: Tensor = encoder(input_ids=tokens, attention_mask=real.long()).last_hidden_state
    return states * real[:, :, None]
