"""An SDXL checkpoint in memory, from a folder of components or from a single file."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines import sdxl_single_file as single_file
from ourvidz_worker.engines.device import Compute, Foreign, size_bytes
from ourvidz_worker.engines.native import Profile, read_profile
from ourvidz_worker.engines.sdxl_base import VAE
from ourvidz_worker.engines.sdxl_schedule import check_own
from ourvidz_worker.engines.sdxl_text import ClipPair
from ourvidz_worker.engines.sdxl_vae import PictureVae
from ourvidz_worker.engines.weights import (
    ModelFiles,
    load_component,
    load_tokenizer,
    open_model,
    read_config,
    read_header,
    read_json,
)

Tell = Callable[[str, float], None]

SECOND_PADDING = "!"
_UNET_CLASS = "UNet2DConditionModel"
_VAE_CLASS = "AutoencoderKL"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """One set of weights for text-to-image and image-to-image.

    `zeros_for_absent` says that an absent negative prompt is a zero embedding, not the encoded
    empty text.
    """

    name: str
    digest: str
    profile: Profile
    schedule: dict[str, Any]
    zeros_for_absent: bool
    text: ClipPair
    unet: Foreign
    vae: PictureVae

    def sizes(self) -> dict[str, int]:
        """Component name to bytes."""
        first, second = self.text.encoders
        return {
            "text_encoder": size_bytes(first),
            "text_encoder_2": size_bytes(second),
            "unet": size_bytes(self.unet),
            "vae": size_bytes(self.vae.module),
        }


def load_checkpoint(path: Path | None, compute: Compute, tell: Tell) -> Checkpoint:
    """Load an SDXL folder or file, telling each part. Raises `ModelLoadFailed`, `OutOfMemory`."""
    files = open_model(path, "SDXL_MODEL_PATH")
    load = _load_folder if files.root.is_dir() else _load_file
    return load(files, compute, tell)


def check_channels(unet_channels: int, latent_channels: int) -> None:
    """Refuse checkpoints that want a picture besides the noise, with their name."""
    if unet_channels == 2 * latent_channels + 1:
        raise ModelLoadFailed("This is an inpainting checkpoint; set a plain SDXL checkpoint.")
    if unet_channels == 2 * latent_channels:
        raise ModelLoadFailed("This is an instruction checkpoint; set a plain SDXL checkpoint.")
    if unet_channels != latent_channels:
        raise ModelLoadFailed("The model's UNet and VAE do not belong together.")


def _load_folder(files: ModelFiles, compute: Compute, tell: Tell) -> Checkpoint:
    root = files.root
    unet_config, vae_config = read_config(root / "unet"), read_config(root / "vae")
    _check_classes(root, unet_config, vae_config)
    check_channels(unet_config.get("in_channels", 0), vae_config.get("latent_channels", 0))
    schedule = read_json(root / "scheduler" / "scheduler_config.json")
    check_own(schedule)
    tell("text_encoder", 0.0)
    first = load_component(CLIPTextModel, root / "text_encoder", compute)
    tell("text_encoder_2", 0.1)
    second = load_component(CLIPTextModelWithProjection, root / "text_encoder_2", compute)
    tell("unet", 0.3)
    unet = load_component(UNet2DConditionModel, root / "unet", compute)
    tell("vae", 0.8)
    precision = vae_dtype(compute, vae_config)
    vae = load_component(AutoencoderKL, root / "vae", compute, dtype=precision)
    index = root / "model_index.json"
    settings = read_json(index) if index.is_file() else {}
    profile = read_profile(root)
    return Checkpoint(
        name=profile.name or root.name,
        digest=files.digest,
        profile=profile,
        schedule=schedule,
        zeros_for_absent=settings.get("force_zeros_for_empty_prompt") is not False,
        text=ClipPair(_tokenizers(root), (first, second)),
        unet=unet,
        vae=PictureVae(vae, compute),
    )


def _load_file(files: ModelFiles, compute: Compute, tell: Tell) -> Checkpoint:
    file = files.root
    header = read_header(file)
    single_file.check_header(header)
    vae_config = single_file.beside(file.parent, "vae/config.json", VAE)
    check_channels(single_file.file_channels(header), vae_config["latent_channels"])
    schedule = single_file.file_schedule(file.parent, header)
    check_own(schedule)
    tokenizers = _tokenizers(file.parent)
    tell("text_encoder", 0.0)
    encoders = single_file.read_encoders(file, compute)
    tell("unet", 0.3)
    unet = single_file.read_unet(file, compute)
    tell("vae", 0.8)
    vae = single_file.read_vae(file, compute, vae_dtype(compute, vae_config))
    profile = read_profile(file)
    return Checkpoint(
        name=profile.name or file.stem,
        digest=files.digest,
        profile=profile,
        schedule=schedule,
        zeros_for_absent=True,
        text=ClipPair(tokenizers, encoders),
        unet=unet,
        vae=PictureVae(vae, compute),
    )


def vae_dtype(compute: Compute, config: dict[str, Any]) -> torch.dtype:
    """The VAE's precision: fp32 in place of half where its makers say that half overflows."""
    overflows = config.get("force_upcast", True)
    return torch.float32 if compute.dtype == torch.float16 and overflows else compute.dtype


def _check_classes(root: Path, unet: dict[str, Any], vae: dict[str, Any]) -> None:
    if unet.get("_class_name") != _UNET_CLASS or vae.get("_class_name") != _VAE_CLASS:
        raise ModelLoadFailed("The model folder is no SDXL checkpoint.")
    if not (root / "text_encoder").is_dir():
        raise ModelLoadFailed("This is an SDXL refiner; set a base checkpoint.")
    if unet.get("addition_embed_type") != "text_time":
        raise ModelLoadFailed("The model folder is no SDXL checkpoint.")
    if unet.get("time_cond_proj_dim") is not None:
        raise ModelLoadFailed("This checkpoint takes guidance as an input, which is not supported.")


def _tokenizers(folder: Path) -> tuple[Foreign, Foreign]:
    if not (folder / "tokenizer").is_dir():
        raise ModelLoadFailed(
            "The model lacks its tokenizer folder; put CLIP's beside the weights."
        )
    first = load_tokenizer(CLIPTokenizer, folder / "tokenizer")
    other = folder / "tokenizer_2"
    second = load_tokenizer(CLIPTokenizer, other if other.is_dir() else folder / "tokenizer")
    if not other.is_dir():
        # The second encoder was trained with another padding mark and the same vocabulary.
        second.pad_token = SECOND_PADDING
    return first, second
