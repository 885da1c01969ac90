"""SDXL checkpoints in one safetensors file, in the layout they were trained in.

The header alone decides whether the file is one that can be served. Configurations come from the
folder beside the file where it has them, else they are the base model's; tokenizers must lie
beside the file, since no checkpoint holds them.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.loaders import single_file_utils
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines import sdxl_base
from ourvidz_worker.engines.device import Compute, Foreign, foreign_errors
from ourvidz_worker.engines.weights import Entry, place, read_json

UNET_KEYS = "model.diffusion_model."
VAE_KEYS = "first_stage_model."
FIRST_ENCODER_KEYS = "conditioner.embedders.0.transformer.text_model."
SECOND_ENCODER_KEYS = "conditioner.embedders.1.model."
REFINER_KEYS = "conditioner.embedders.0.model."
FIRST_CONVOLUTION = UNET_KEYS + "input_blocks.0.0.weight"

Weights = dict[str, Tensor]

_CONVERT: Foreign = single_file_utils
_LAYER_NAMES = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}
_TOP_NAMES = {
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}


def check_header(header: dict[str, Entry]) -> None:
    """Raise `ModelLoadFailed`, with the reason, unless the file is a base SDXL checkpoint."""
    if FIRST_CONVOLUTION not in header:
        raise ModelLoadFailed("The weights file is no SDXL checkpoint.")
    if any(name.startswith(REFINER_KEYS) for name in header):
        raise ModelLoadFailed("This is an SDXL refiner; set a base checkpoint.")
    if not any(name.startswith(SECOND_ENCODER_KEYS) for name in header):
        raise ModelLoadFailed("The weights file is no SDXL checkpoint: it lacks a text encoder.")
    if not any(name.startswith(VAE_KEYS) for name in header):
        raise ModelLoadFailed("The weights file lacks its VAE; set a whole checkpoint.")


def file_channels(header: dict[str, Entry]) -> int:
    """How many channels the UNet of a checked file takes."""
    return header[FIRST_CONVOLUTION].shape[1]


def file_schedule(folder: Path, header: dict[str, Entry]) -> dict[str, Any]:
    """The scheduler's configuration: from beside the file, else the base model's.

    The keys `v_pred` and `ztsnr` are how such checkpoints say what they predict.
    """
    config = beside(folder, "scheduler/scheduler_config.json", sdxl_base.SCHEDULER)
    if "v_pred" in header:
        config = config | sdxl_base.V_PREDICTION
    if "ztsnr" in header:
        config = config | sdxl_base.ZERO_TERMINAL_SNR
    return config


def beside(folder: Path, name: str, otherwise: dict[str, Any]) -> dict[str, Any]:
    """The JSON file `name` of the folder beside the checkpoint, or the base model's facts."""
    file = folder / name
    found = read_json(file) if file.is_file() else otherwise
    return dict(found)


def read_unet(file: Path, compute: Compute) -> Foreign:
    """The UNet of a checkpoint file. Raises `ModelLoadFailed`."""
    config = beside(file.parent, "unet/config.json", sdxl_base.UNET)
    return _assemble(
        lambda: UNet2DConditionModel.from_config(_plain(config)),
        lambda: _CONVERT.convert_ldm_unet_checkpoint(_read(file, UNET_KEYS), config),
        compute,
    )


def read_vae(file: Path, compute: Compute, dtype: torch.dtype) -> Foreign:
    """The VAE of a checkpoint file. Raises `ModelLoadFailed`."""
    config = beside(file.parent, "vae/config.json", sdxl_base.VAE)
    return _assemble(
        lambda: AutoencoderKL.from_config(_plain(config)),
        lambda: _CONVERT.convert_ldm_vae_checkpoint(_read(file, VAE_KEYS), config),
        compute,
        dtype,
    )


def read_encoders(file: Path, compute: Compute) -> tuple[Foreign, Foreign]:
    """Both text encoders of a checkpoint file. Raises `ModelLoadFailed`."""
    first = beside(file.parent, "text_encoder/config.json", sdxl_base.TEXT_ENCODER)
    second = beside(file.parent, "text_encoder_2/config.json", sdxl_base.TEXT_ENCODER_2)
    return (
        _assemble(
            lambda: CLIPTextModel(CLIPTextConfig(**_plain(first))),
            lambda: rename_first(_read(file, FIRST_ENCODER_KEYS)),
            compute,
        ),
        _assemble(
            lambda: CLIPTextModelWithProjection(CLIPTextConfig(**_plain(second))),
            lambda: rename_second(_read(file, SECOND_ENCODER_KEYS)),
            compute,
        ),
    )


def rename_first(weights: Weights) -> Weights:
    """CLIP-L is stored under its own names, behind a prefix."""
    return {name.removeprefix(FIRST_ENCODER_KEYS): tensor for name, tensor in weights.items()}


def rename_second(weights: Weights) -> Weights:
    """OpenCLIP's names and fused projections to those of transformers."""
    renamed: Weights = {}
    for name, tensor in weights.items():
        short = name.removeprefix(SECOND_ENCODER_KEYS)
        if short.startswith("transformer.resblocks."):
            renamed |= _rename_layer(short.removeprefix("transformer.resblocks."), tensor)
        elif short == "text_projection":
            renamed["text_projection.weight"] = tensor.T.contiguous()
        elif short in _TOP_NAMES:
            renamed[_TOP_NAMES[short]] = tensor
    return renamed


def _rename_layer(name: str, tensor: Tensor) -> Weights:
    number, _, rest = name.partition(".")
    prefix = f"text_model.encoder.layers.{number}."
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        parts = tensor.chunk(3)
        return {
            f"{prefix}self_attn.{letter}_proj.{kind}": part
            for letter, part in zip("qkv", parts, strict=True)
        }
    layer, _, kind = rest.rpartition(".")
    return {f"{prefix}{_LAYER_NAMES[layer]}.{kind}": tensor}


def _read(file: Path, prefix: str) -> Weights:
    with safe_open(file, framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys() if name.startswith(prefix)}  # noqa: SIM118


def _assemble(
    build: Callable[[], Foreign],
    read: Callable[[], Weights],
    compute: Compute,
    dtype: torch.dtype | None = None,
) -> Foreign:
    chosen = dtype or compute.dtype
    with foreign_errors(ModelLoadFailed):
        with torch.device("meta"):
            module = build()
        weights = {name: tensor.to(chosen) for name, tensor in read().items()}
        told = module.load_state_dict(weights, strict=False, assign=True)
        _fill_positions(module)
    # What older files hold besides (position ids, a logit scale) is not part of the network.
    if told.missing_keys:
        raise ModelLoadFailed(
            f"The weights file lacks {len(told.missing_keys)} of the weights it needs.",
            first=told.missing_keys[0],
        )
    return place(module, compute)


def _fill_positions(module: torch.nn.Module) -> None:
    for name, buffer in module.named_buffers():
        if buffer.is_meta:
            owner = module.get_submodule(name.rpartition(".")[0])
            owner.position_ids = torch.arange(buffer.numel()).view(buffer.shape)


def _plain(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if not key.startswith("_")}
