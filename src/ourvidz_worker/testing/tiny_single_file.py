"""A tiny SDXL checkpoint as one safetensors file, in the layout such checkpoints are trained in.

Made from a folder of components: the same weights under the original names, so that both can be
loaded and compared. Configurations and tokenizers are put beside the file.
"""

import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

Weights = dict[str, Tensor]

LEVELS = 2
"""How many levels the tiny UNet has, one layer each."""

VAE_LEVELS = 4

_RESNET = (
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("conv_shortcut.", "skip_connection."),
)
_UNET_TOP = (
    ("conv_in.", "input_blocks.0.0."),
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("add_embedding.linear_1.", "label_emb.0.0."),
    ("add_embedding.linear_2.", "label_emb.0.2."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
    ("mid_block.resnets.0.", "middle_block.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("mid_block.resnets.1.", "middle_block.2."),
)
_VAE = (
    (r"mid_block\.resnets\.0\.", "mid.block_1."),
    (r"mid_block\.resnets\.1\.", "mid.block_2."),
    (r"mid_block\.attentions\.0\.group_norm\.", "mid.attn_1.norm."),
    (r"mid_block\.attentions\.0\.to_([qkv])\.", r"mid.attn_1.\1."),
    (r"mid_block\.attentions\.0\.to_out\.0\.", "mid.attn_1.proj_out."),
    (r"down_blocks\.(\d)\.resnets\.(\d)\.", r"down.\1.block.\2."),
    (r"down_blocks\.(\d)\.downsamplers\.0\.", r"down.\1.downsample."),
    (r"(up\.\d)\.resnets\.(\d)\.", r"\1.block.\2."),
    (r"(up\.\d)\.upsamplers\.0\.", r"\1.upsample."),
    (r"conv_norm_out\.", "norm_out."),
    (r"conv_shortcut\.", "nin_shortcut."),
)
_CLIP = (
    ("text_model.embeddings.token_embedding.weight", "token_embedding.weight"),
    ("text_model.embeddings.position_embedding.weight", "positional_embedding"),
    ("text_model.final_layer_norm.", "ln_final."),
    ("text_model.encoder.layers.", "transformer.resblocks."),
    ("self_attn.out_proj.", "attn.out_proj."),
    ("layer_norm1.", "ln_1."),
    ("layer_norm2.", "ln_2."),
    ("mlp.fc1.", "mlp.c_fc."),
    ("mlp.fc2.", "mlp.c_proj."),
)


def build_sdxl_file(folder: Path, source: Path, *, extra: Weights | None = None) -> Path:
    """Write `source` (a tiny SDXL folder) as one file in `folder`; return the file.

    `extra` are tensors to add, such as the marks `v_pred` and `ztsnr`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.copytree(source / name, folder / name)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        (folder / name).mkdir()
        shutil.copy(source / name / "config.json", folder / name / "config.json")
    weights = {
        **_unet(_read(source / "unet")),
        **_vae(_read(source / "vae")),
        **_first_encoder(_read(source / "text_encoder")),
        **_second_encoder(_read(source / "text_encoder_2")),
        **(extra or {}),
    }
    file = folder / "tiny.safetensors"
    save_file({name: tensor.contiguous().half() for name, tensor in weights.items()}, file)
    return file


def mark() -> Tensor:
    """An empty mark, as checkpoints carry `v_pred` and `ztsnr`."""
    return torch.zeros(1)


def _read(folder: Path) -> Weights:
    (file,) = folder.glob("*.safetensors")
    return load_file(file)


def _unet(weights: Weights) -> Weights:
    places = _UNET_TOP + tuple(_blocks("down_blocks")) + tuple(_blocks("up_blocks"))
    return {
        "model.diffusion_model." + _renamed(name, places): tensor
        for name, tensor in weights.items()
    }


def _blocks(kind: str) -> list[tuple[str, str]]:
    """Where each layer of the down or up blocks lies in the flat list of the original."""
    down = kind == "down_blocks"
    flat, place = ("input_blocks", 1) if down else ("output_blocks", 0)
    found = []
    for level in range(LEVELS):
        has_attention = (level == LEVELS - 1) if down else (level == 0)
        for layer in range(1 if down else 2):
            found.append((f"{kind}.{level}.resnets.{layer}.", f"{flat}.{place}.0."))
            found.append((f"{kind}.{level}.attentions.{layer}.", f"{flat}.{place}.1."))
            place += 1
        if level == LEVELS - 1:
            continue
        if down:
            found.append((f"{kind}.{level}.downsamplers.0.conv.", f"{flat}.{place}.0.op."))
            place += 1
        else:
            inside = 2 if has_attention else 1
            found.append(
                (f"{kind}.{level}.upsamplers.0.conv.", f"{flat}.{place - 1}.{inside}.conv.")
            )
    return found


def _renamed(name: str, places: tuple[tuple[str, str], ...]) -> str:
    ours, theirs = next(pair for pair in places if name.startswith(pair[0]))
    rest = name.removeprefix(ours)
    if "resnets" in ours:
        ours, theirs_layer = next(pair for pair in _RESNET if rest.startswith(pair[0]))
        rest = theirs_layer + rest.removeprefix(ours)
    return theirs + rest


def _vae(weights: Weights) -> Weights:
    renamed = {}
    for name, tensor in weights.items():
        short = re.sub(r"up_blocks\.(\d)\.", _upwards, name)
        for pattern, replacement in _VAE:
            short = re.sub(pattern, replacement, short)
        linear = ".attn_1." in short and short.endswith("weight") and tensor.ndim > 1
        renamed["first_stage_model." + short] = tensor[:, :, None, None] if linear else tensor
    return renamed


def _upwards(found: re.Match[str]) -> str:
    """The original counts the decoder's levels from the other end."""
    return f"up.{VAE_LEVELS - 1 - int(found[1])}."


def _first_encoder(weights: Weights) -> Weights:
    prefix = "conditioner.embedders.0.transformer.text_model."
    return {prefix + name.removeprefix("text_model."): tensor for name, tensor in weights.items()}


def _second_encoder(weights: Weights) -> Weights:
    prefix = "conditioner.embedders.1.model."
    found: Weights = {}
    fused: dict[str, dict[str, Tensor]] = {}
    for name, tensor in weights.items():
        if name == "text_projection.weight":
            found[prefix + "text_projection"] = tensor.T
            continue
        short = name
        for ours, theirs in _CLIP:
            short = short.replace(ours, theirs)
        split = re.match(r"(.*)self_attn\.([qkv])_proj\.(weight|bias)$", short)
        if split:
            fused.setdefault(f"{split[1]}attn.in_proj_{split[3]}", {})[split[2]] = tensor
        else:
            found[prefix + short] = tensor
    for name, parts in fused.items():
        found[prefix + name] = torch.cat([parts[letter] for letter in "qkv"])
    return found
