"""The shapes of the pocket image model: SDXL's architecture, small.

Every part is built here with random weights; training, export and measuring share these shapes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, EulerDiscreteScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tools.pocket.image_types import PooledTextEncoder, Scheduler, TextEncoder, Unet, Vae

LATENT_CHANNELS = 16
VAE_FACTOR = 8
NATIVE_PX = 128
TRAIN_TIMESTEPS = 1000
TIME_ID_COUNT = 6


@dataclass(frozen=True, kw_only=True)
class ImageShape:
    """Widths and depths of all parts of one image model."""

    vocab_size: int
    start_id: int
    end_id: int
    unet_widths: tuple[int, ...] = (128, 160)
    unet_layers: int = 1
    unet_heads: tuple[int, ...] = (4, 5)
    unet_depths: tuple[int, ...] = (2, 1)
    vae_widths: tuple[int, ...] = (32, 64, 96, 128)
    vae_layers: int = 1
    vae_groups: int = 4
    text_widths: tuple[int, int] = (128, 128)
    text_layers: tuple[int, int] = (3, 3)
    time_id_width: int = 32


def tiny_shape(vocab_size: int, start_id: int, end_id: int) -> ImageShape:
    """Return a shape that trains on a CPU in seconds, to prove the path and nothing else."""
    return ImageShape(
        vocab_size=vocab_size,
        start_id=start_id,
        end_id=end_id,
        unet_widths=(32, 64),
        unet_heads=(1, 2),
        unet_depths=(1, 1),
        vae_widths=(16, 16, 32, 32),
        text_widths=(32, 32),
        text_layers=(2, 2),
    )


def build_vae(shape: ImageShape) -> Vae:
    """Return the f8 autoencoder with 16 latent channels and no attention."""
    levels = len(shape.vae_widths)
    kind: Vae = AutoencoderKL
    return kind(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=shape.vae_widths,
        layers_per_block=shape.vae_layers,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=shape.vae_groups,
        sample_size=NATIVE_PX,
        scaling_factor=1.0,
        force_upcast=False,
        mid_block_add_attention=False,
    )


def build_unet(shape: ImageShape) -> Unet:
    """Return the denoiser with SDXL's text-time conditioning, for 16-channel latents."""
    levels = len(shape.unet_widths)
    kind: Unet = UNet2DConditionModel
    return kind(
        sample_size=NATIVE_PX // VAE_FACTOR,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        mid_block_type="UNetMidBlock2DCrossAttn",
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        block_out_channels=shape.unet_widths,
        layers_per_block=shape.unet_layers,
        transformer_layers_per_block=shape.unet_depths,
        attention_head_dim=shape.unet_heads,
        cross_attention_dim=sum(shape.text_widths),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=shape.time_id_width,
        projection_class_embeddings_input_dim=TIME_ID_COUNT * shape.time_id_width
        + shape.text_widths[1],
    )


def build_text_encoders(shape: ImageShape) -> tuple[TextEncoder, PooledTextEncoder]:
    """Return the two text encoders; the second one also gives the pooled embedding."""
    first = CLIPTextModel(_text_config(shape, 0, "quick_gelu"))
    second = CLIPTextModelWithProjection(_text_config(shape, 1, "gelu"))
    return first, second


def load_parts(folder: Path) -> tuple[Vae, Unet, TextEncoder, PooledTextEncoder]:
    """Read the parts of a trained model, in single precision."""
    kinds = {
        "vae": AutoencoderKL,
        "unet": UNet2DConditionModel,
        "text_encoder": CLIPTextModel,
        "text_encoder_2": CLIPTextModelWithProjection,
    }
    vae, unet, first, second = (
        kind.from_pretrained(folder / name, torch_dtype=torch.float32)
        for name, kind in kinds.items()
    )
    return vae, unet, first, second


def build_scheduler() -> Scheduler:
    """Return the sampler's settings: v prediction from pure noise, steps counted from the end.

    A zero terminal signal is what lets a model choose the colour of a whole background.
    """
    kind: Scheduler = EulerDiscreteScheduler
    return kind(
        num_train_timesteps=TRAIN_TIMESTEPS,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="v_prediction",
        rescale_betas_zero_snr=True,
        timestep_spacing="trailing",
    )


def alphas_cumprod() -> torch.Tensor:
    """Return the signal share of each training timestep, float64 ``[TRAIN_TIMESTEPS]``."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, TRAIN_TIMESTEPS, dtype=torch.float64) ** 2
    roots = (1 - betas).cumprod(0).sqrt()
    # Shift and scale so that the last value is zero and the first is kept (arXiv 2305.08891).
    roots = (roots - roots[-1]) * roots[0] / (roots[0] - roots[-1])
    return roots.square()


def parameter_count(*modules: torch.nn.Module) -> int:
    """Return the number of parameters of all modules together."""
    return sum(weight.numel() for module in modules for weight in module.parameters())


def _text_config(shape: ImageShape, index: int, activation: str) -> CLIPTextConfig:
    width = shape.text_widths[index]
    return CLIPTextConfig(
        vocab_size=shape.vocab_size,
        hidden_size=width,
        intermediate_size=4 * width,
        projection_dim=width,
        num_hidden_layers=shape.text_layers[index],
        num_attention_heads=max(1, width // 32),
        max_position_embeddings=77,
        hidden_act=activation,
        bos_token_id=shape.start_id,
        eos_token_id=shape.end_id,
        pad_token_id=shape.end_id,
    )
