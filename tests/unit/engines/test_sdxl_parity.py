"""The engine's own loop against the library's pipeline: equal bits in fp32 on a CPU."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.unit.engines.engine_bench import Bench, Loose, picture_with

from ourvidz_worker.engines import Engine


@pytest.fixture(scope="module")
def pipeline(tiny: Path, sdxl_engine: Engine[Any]) -> Loose:
    library: Loose = diffusers
    return library.StableDiffusionXLPipeline.from_pretrained(tiny / "sdxl")


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"negative_prompt": "bad and ugly"},
        {"negative_prompt": ""},
        {"guidance": 1.0},
        {"guidance": 9.5, "steps": 7, "width": 64},
    ],
)
def test_text_to_image_equals_the_pipeline_bit_for_bit(
    pipeline: Loose, pictures: Bench, changes: dict[str, Any]
) -> None:
    request = picture_with(**changes)
    asked = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance,
        "width": request.width,
        "height": request.height,
    }
    work = pictures.compute(request, seed=21)
    latents, decoded = (
        pipeline(**asked, generator=torch.Generator().manual_seed(21), output_type=kind).images
        for kind in ("latent", "np")
    )
    assert torch.equal(work.latents[0], latents)
    assert np.array_equal(work.pictures[0], (decoded[0] * 255).round().astype(np.uint8))
