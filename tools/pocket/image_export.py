"""Saves the image model as a standard SDXL pipeline folder, and draws sample sheets from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline
from PIL import Image
from transformers import CLIPTokenizer

from tools.pocket.image_model import build_scheduler
from tools.pocket.image_train import ImageParts
from tools.pocket.image_types import SdxlPipeline
from tools.pocket.tokenizer_clip import save_tokenizer
from tools.pocket.training import AveragedWeights, replace_files

SHARD_LIMIT = "14MB"
SAMPLE_PROMPTS = (
    "a red apple on a blue background",
    "a cat",
    "two dogs on green",
    "rocket on a black background",
    "a pizza",
    "a small turtle on a yellow background",
    "a banana and a cherries on a pink background",
    "an owl on the left on a purple background",
    "car, red background",
    "photo of a guitar on an orange background",
    "a strawberry on a teal background",
    "a tree on a white background",
    "three balloons on a gray background",
    "a robot on a brown background",
    "smiling face with sunglasses on a red background",
    "a large sunflower on a blue gradient background",
)


@dataclass(frozen=True)
class SampleSetting:
    """How a row of a sample sheet is drawn."""

    steps: int
    guidance: float


# The two job types' defaults, then few steps without guidance.
SETTINGS = (
    SampleSetting(15, 6.0),
    SampleSetting(25, 7.5),
    SampleSetting(6, 1.0),
    SampleSetting(4, 1.0),
)


def assemble(
    parts: ImageParts, average: AveragedWeights | None, tokenizer: CLIPTokenizer, dtype: torch.dtype
) -> SdxlPipeline:
    """Return a pipeline of copies of all parts, with averaged weights where given."""
    modules = [copy.deepcopy(module).float() for module in parts.trained]
    if average is not None:
        average.copy_into(modules)
    unet, first, second = (module.to(dtype).eval() for module in modules)
    kind: SdxlPipeline = StableDiffusionXLPipeline
    pipeline = kind(
        vae=copy.deepcopy(parts.vae).to(dtype).eval(),
        text_encoder=first,
        text_encoder_2=second,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        force_zeros_for_empty_prompt=True,
        add_watermarker=False,
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def export(
    parts: ImageParts, average: AveragedWeights | None, tokenizer: CLIPTokenizer, folder: Path
) -> None:
    """Write the model in half precision to ``folder``, file by file in single moves."""
    partial = folder.with_name(folder.name + ".partial")
    pipeline = assemble(parts, average, tokenizer, torch.float16)
    pipeline.save_pretrained(partial, max_shard_size=SHARD_LIMIT, safe_serialization=True)
    for name in ("tokenizer", "tokenizer_2"):
        save_tokenizer(tokenizer, partial / name)
    replace_files(partial, folder)


@torch.no_grad()
def sample(
    pipeline: SdxlPipeline,
    prompts: list[str],
    setting: SampleSetting,
    size: tuple[int, int] = (128, 128),
    seed: int = 0,
) -> list[Image.Image]:
    """Return one picture for each prompt; picture i uses seed ``seed + i``."""
    generators = [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))]
    pictures: list[Image.Image] = pipeline(
        prompt=prompts,
        width=size[0],
        height=size[1],
        num_inference_steps=setting.steps,
        guidance_scale=setting.guidance,
        generator=generators,
    ).images
    return pictures


def write_sheet(pipeline: SdxlPipeline, path: Path, prompts: list[str]) -> None:
    """Draw every prompt with every setting: one row for each setting."""
    rows = [sample(pipeline, prompts, setting) for setting in SETTINGS]
    partial = path.with_suffix(".partial.png")
    tile([picture for row in rows for picture in row], len(prompts)).save(partial)
    partial.replace(path)


def tile(pictures: list[Image.Image], columns: int) -> Image.Image:
    """Lay equal pictures out in rows of ``columns``."""
    width, height = pictures[0].size
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, picture in enumerate(pictures):
        place = ((index % columns) * width, (index // columns) * height)
        sheet.paste(picture.convert("RGB"), place)
    return sheet
