"""Tiny models with random weights, in the standard layouts of diffusers and transformers.

They are for tests of the engines: the architectures are the real ones, the pictures are noise.
Every builder writes one folder and returns it; equal seeds give equal weights.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    LlamaConfig,
    LlamaForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    UMT5Config,
    UMT5EncoderModel,
)

from ourvidz_worker.testing.tiny_tokenizers import (
    Foreign,
    chatml_tokenizer,
    clip_tokenizer,
    llama_tokenizer,
    umt5_tokenizer,
)

_WIDTH = 32


def build_sdxl(
    folder: Path, *, seed: int = 1, scheduler: str = "EulerDiscreteScheduler", **options: object
) -> Path:
    """An SDXL folder: UNet with text and time embedding, VAE (factor 8), two CLIP encoders.

    `options` go into the scheduler's configuration, such as `prediction_type`.
    """
    _save(sdxl_unet(), folder / "unet", seed)
    _save(sdxl_vae(), folder / "vae", seed + 1)
    _save(CLIPTextModel(_clip_config("quick_gelu")), folder / "text_encoder", seed + 2)
    second = CLIPTextModelWithProjection(_clip_config("gelu"))
    _save(second, folder / "text_encoder_2", seed + 3)
    clip_tokenizer(pad="<|endoftext|>").save_pretrained(folder / "tokenizer")
    clip_tokenizer(pad="!").save_pretrained(folder / "tokenizer_2")
    _write_json(folder / "scheduler" / "scheduler_config.json", _schedule(scheduler, options))
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": "StableDiffusionXLPipeline",
            "force_zeros_for_empty_prompt": True,
            "text_encoder": ["transformers", "CLIPTextModel"],
            "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
            "tokenizer": ["transformers", "CLIPTokenizer"],
            "tokenizer_2": ["transformers", "CLIPTokenizer"],
            "unet": ["diffusers", "UNet2DConditionModel"],
            "vae": ["diffusers", "AutoencoderKL"],
            "scheduler": ["diffusers", scheduler],
        },
    )
    return folder


def build_wan(folder: Path, *, seed: int = 1, vace: bool = False) -> Path:
    """A Wan folder: transformer (plain, or with VACE blocks), causal VAE, UMT5 encoder."""
    _save(wan_transformer(vace=vace), folder / "transformer", seed)
    _save(wan_vae(), folder / "vae", seed + 1)
    tokenizer = umt5_tokenizer()
    _save(wan_text_encoder(len(tokenizer)), folder / "text_encoder", seed + 2)
    tokenizer.save_pretrained(folder / "tokenizer")
    options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    _write_json(
        folder / "scheduler" / "scheduler_config.json",
        {"_class_name": "UniPCMultistepScheduler", **options},
    )
    kind = "WanVACE" if vace else "Wan"
    _write_json(
        folder / "model_index.json",
        {
            "_class_name": f"{kind}Pipeline",
            "text_encoder": ["transformers", "UMT5EncoderModel"],
            "tokenizer": ["transformers", "PreTrainedTokenizerFast"],
            "transformer": ["diffusers", f"{kind}Transformer3DModel"],
            "vae": ["diffusers", "AutoencoderKLWan"],
            "scheduler": ["diffusers", "UniPCMultistepScheduler"],
        },
    )
    return folder


def build_qwen2(folder: Path, *, seed: int = 1, context: int = 512) -> Path:
    """A Qwen2 folder whose ChatML template has a default system turn, and whose
    generation configuration asks for sampling of its own."""
    tokenizer = chatml_tokenizer()
    config = Qwen2Config(**_language_sizes(context, len(tokenizer)))
    config.eos_token_id = tokenizer.convert_tokens_to_ids("<|im_end|>")
    _save(Qwen2ForCausalLM(config), folder, seed)
    tokenizer.save_pretrained(folder)
    _write_json(
        folder / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 0.1,
            "top_k": 1,
            "repetition_penalty": 1.9,
            "eos_token_id": [config.eos_token_id, tokenizer.eos_token_id],
        },
    )
    return folder


def build_llama(folder: Path, *, seed: int = 1, context: int = 512) -> Path:
    """A Llama folder without ChatML markers, with a beginning mark before every text."""
    tokenizer = llama_tokenizer()
    config = LlamaConfig(**_language_sizes(context, len(tokenizer)))
    config.eos_token_id = tokenizer.eos_token_id
    _save(LlamaForCausalLM(config), folder, seed)
    tokenizer.save_pretrained(folder)
    return folder


def sdxl_unet() -> Foreign:
    """An SDXL UNet of two levels, 4 latent channels."""
    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(_WIDTH, 2 * _WIDTH),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 1),
        attention_head_dim=(2, 4),
        cross_attention_dim=2 * _WIDTH,
        norm_num_groups=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + _WIDTH,
    )


def sdxl_vae() -> Foreign:
    """A VAE of factor 8 with 4 latent channels."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=4,
        scaling_factor=0.13025,
        sample_size=64,
        force_upcast=True,
    )


def wan_transformer(*, vace: bool) -> Foreign:
    """A Wan transformer of three blocks; with `vace`, hints for the first and the last."""
    sizes = {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": _WIDTH,
        "freq_dim": 32,
        "ffn_dim": 64,
        "num_layers": 3,
        "cross_attn_norm": True,
    }
    if vace:
        return WanVACETransformer3DModel(**sizes, vace_layers=[0, 2], vace_in_channels=96)
    return WanTransformer3DModel(**sizes)


def wan_vae() -> Foreign:
    """A causal Wan VAE: 8 x 8 pixels and 4 frames to one latent of 16 channels."""
    return AutoencoderKLWan(
        base_dim=8,
        z_dim=16,
        dim_mult=[1, 1, 2, 2],
        num_res_blocks=1,
        latents_mean=[0.1 * index for index in range(16)],
        latents_std=[1.0 + 0.05 * index for index in range(16)],
    )


def wan_text_encoder(vocabulary: int) -> UMT5EncoderModel:
    """A UMT5 encoder of two layers."""
    config = UMT5Config(
        vocab_size=vocabulary,
        d_model=_WIDTH,
        d_kv=16,
        num_heads=2,
        d_ff=64,
        num_layers=2,
        dropout_rate=0.0,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
    )
    return UMT5EncoderModel(config)


def randomise(module: torch.nn.Module, seed: int) -> None:
    """Fill a module's weights from a generator of its own, at a scale that keeps values sound."""
    generator = torch.Generator("cpu").manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(module.named_parameters()):
            if parameter.ndim > 1:
                fan_in = parameter[0].numel()
                parameter.normal_(std=1.0 / math.sqrt(fan_in), generator=generator)
            else:
                parameter.normal_(std=0.1, generator=generator)
                parameter.add_(1.0 if name.endswith(("norm.weight", "gamma")) else 0.0)


def _clip_config(activation: str) -> CLIPTextConfig:
    size = len(clip_tokenizer(pad="!"))
    return CLIPTextConfig(
        vocab_size=size,
        hidden_size=_WIDTH,
        intermediate_size=2 * _WIDTH,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=77,
        projection_dim=_WIDTH,
        hidden_act=activation,
        bos_token_id=size - 2,
        eos_token_id=size - 1,
        pad_token_id=size - 1,
    )


def _language_sizes(context: int, vocabulary: int) -> dict[str, Any]:
    return {
        "vocab_size": vocabulary,
        "hidden_size": _WIDTH,
        "intermediate_size": 2 * _WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": context,
    }


def _schedule(name: str, options: dict[str, object]) -> dict[str, object]:
    config: dict[str, object] = {
        "_class_name": name,
        "beta_start": 0.00085,
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "num_train_timesteps": 1000,
        "prediction_type": "epsilon",
        "timestep_spacing": "leading",
        "steps_offset": 1,
    }
    return config | options


def _save(module: Foreign, folder: Path, seed: int) -> None:
    randomise(module, seed)
    module.save_pretrained(folder, safe_serialization=True)


def _write_json(file: Path, content: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content, indent=1), encoding="utf-8")
