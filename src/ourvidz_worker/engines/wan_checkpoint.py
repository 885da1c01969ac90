"""A Wan 2.1 checkpoint in memory: text encoder, VAE, and one transformer or two views of one.

A VACE transformer is a plain one with extra blocks. Where both are there and their common
weights are equal, the plain one is a view on the modules of the other and costs nothing.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanTransformer3DModel
from diffusers.models.transformers.transformer_wan_vace import WanVACETransformer3DModel
from transformers import AutoTokenizer, UMT5EncoderModel

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.device import Compute, Foreign, size_bytes
from ourvidz_worker.engines.native import Profile, read_profile
from ourvidz_worker.engines.wan_text import ClipText
from ourvidz_worker.engines.wan_vae import ClipVae
from ourvidz_worker.engines.weights import (
    load_component,
    load_tokenizer,
    open_model,
    read_config,
    read_json,
)

Tell = Callable[[str, float], None]

PLAIN, VACE = "WanTransformer3DModel", "WanVACETransformer3DModel"
SHARED_PARTS = (
    "rope",
    "patch_embedding",
    "condition_embedder",
    "blocks",
    "norm_out",
    "proj_out",
    "scale_shift_table",
)
"""What a plain transformer consists of, and a VACE transformer has as well."""


@dataclass(frozen=True, kw_only=True)
class ClipCheckpoint:
    """One set of weights for text-to-video and, where `vace` is not None, for references."""

    name: str
    digest: str
    profile: Profile
    text: ClipText
    vae: ClipVae
    plain: Foreign
    vace: Foreign

    def sizes(self) -> dict[str, int]:
        """Component name to bytes; what two components share is counted once."""
        sizes = {
            "text_encoder": size_bytes(self.text.encoder),
            "transformer": size_bytes(self.plain),
            "vae": size_bytes(self.vae.module),
        }
        if self.vace is not None:
            shared = self.plain.blocks is self.vace.blocks
            own = size_bytes(self.vace) - (sizes["transformer"] if shared else 0)
            sizes["vace"] = own
        return sizes


def load_checkpoint(
    path: Path | None, vace_path: Path | None, compute: Compute, tell: Tell
) -> ClipCheckpoint:
    """Load a Wan folder, and a VACE folder beside it. Raises `ModelLoadFailed`, `OutOfMemory`."""
    files = open_model(path, "WAN_MODEL_PATH")
    root = files.root
    check_folder(root)
    digest = files.digest
    if vace_path is not None:
        digest = f"{digest}+{open_model(vace_path, 'WAN_VACE_MODEL_PATH').digest}"
    profile = read_profile(root)
    tell("text_encoder", 0.0)
    tokenizer = load_tokenizer(AutoTokenizer, root / "tokenizer")
    encoder = load_component(UMT5EncoderModel, root / "text_encoder", compute)
    tell("transformer", 0.5)
    plain, vace = _transformers(root, vace_path, compute)
    tell("vae", 0.85)
    vae = load_component(AutoencoderKLWan, root / "vae", compute, dtype=torch.float32)
    return ClipCheckpoint(
        name=profile.name or root.name,
        digest=digest,
        profile=profile,
        text=ClipText(tokenizer, encoder, profile.native.max_prompt_tokens),
        vae=ClipVae(vae, compute),
        plain=plain,
        vace=vace,
    )


def check_folder(root: Path) -> None:
    """Refuse, with the reason, what is no Wan 2.1 text-to-video or VACE folder."""
    if not root.is_dir():
        raise ModelLoadFailed("A Wan checkpoint must be a folder of components.")
    index = root / "model_index.json"
    settings = read_json(index) if index.is_file() else {}
    config = read_config(root / "transformer")
    two_experts = (root / "transformer_2").is_dir() or settings.get("boundary_ratio") is not None
    if two_experts or settings.get("expand_timesteps"):
        raise ModelLoadFailed("This is a Wan 2.2 checkpoint; set one of Wan 2.1.")
    if config.get("_class_name") not in {PLAIN, VACE}:
        raise ModelLoadFailed("The model folder is no Wan checkpoint.")
    if config.get("image_dim") is not None or config.get("in_channels") != config.get(
        "out_channels"
    ):
        raise ModelLoadFailed(
            "This is an image-to-video checkpoint; set a text-to-video or VACE one."
        )


def plain_view(vace: Foreign) -> Foreign:
    """The plain transformer whose modules are the VACE transformer's own."""
    known = inspect.signature(WanTransformer3DModel.__init__).parameters
    options = {name: value for name, value in vace.config.items() if name in known}
    with torch.device("meta"):
        plain = WanTransformer3DModel(**options)
    for part in SHARED_PARTS:
        setattr(plain, part, getattr(vace, part))
    return plain.eval().requires_grad_(False)


def is_base_of(plain: Foreign, vace: Foreign) -> bool:
    """True when every weight of the plain transformer is in the VACE one, unchanged."""
    theirs = vace.state_dict()
    return all(
        name in theirs and torch.equal(tensor, theirs[name])
        for name, tensor in plain.state_dict().items()
    )


def _transformers(root: Path, vace_path: Path | None, compute: Compute) -> tuple[Foreign, Foreign]:
    if read_config(root / "transformer")["_class_name"] == VACE:
        vace = load_component(WanVACETransformer3DModel, root / "transformer", compute)
        return plain_view(vace), vace
    plain = load_component(WanTransformer3DModel, root / "transformer", compute)
    if vace_path is None:
        return plain, None
    if read_config(vace_path / "transformer").get("_class_name") != VACE:
        raise ModelLoadFailed("WAN_VACE_MODEL_PATH names no VACE checkpoint.")
    vace = load_component(WanVACETransformer3DModel, vace_path / "transformer", compute)
    return (plain_view(vace) if is_base_of(plain, vace) else plain), vace
