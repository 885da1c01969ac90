"""The engine's own loop against the library's pipeline, in fp32 on a CPU.

Equal to 1e-4 (of values up to 7): the engine encodes a text at its true length, the pipeline
with a mask over the padding, which sums in another order.
"""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from tests.unit.engines.engine_bench import Bench, Loose, clip_with

TOLERANCE = 1e-4
LIBRARY: Loose = diffusers
SOLVERS = {"dpm++": "DPMSolverMultistepScheduler", "unipc": "UniPCMultistepScheduler"}


@pytest.fixture(scope="module")
def pipeline(tiny: Path) -> Loose:
    return LIBRARY.WanPipeline.from_pretrained(tiny / "wan")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    "changes",
    [{"frames": 9}, {"negative_prompt": "bad", "shift": 3.0}, {"guidance": 1.0}, {"frames": 1}],
)
def test_text_to_video_equals_the_pipeline(
    pipeline: Loose, clips: Bench, changes: dict[str, Any], solver: str
) -> None:
    request = clip_with(solver=solver, steps=3, **changes)
    pipeline.scheduler = getattr(LIBRARY, SOLVERS[solver])(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=request.shift
    )
    asked = {
        "prompt": request.prompt,
        "negative_prompt": request.negative_prompt,
        "num_inference_steps": request.steps,
        "guidance_scale": request.guidance,
        "width": request.width,
        "height": request.height,
        "num_frames": request.frames,
        "max_sequence_length": 512,
    }
    work = clips.compute(request, seed=21)
    latents, decoded = (
        pipeline(**asked, generator=torch.Generator().manual_seed(21), output_type=kind).frames
        for kind in ("latent", "np")
    )
    assert torch.allclose(work.latents, latents, atol=TOLERANCE)
    levels = (decoded[0] * 255).round().astype(int)
    assert np.abs(work.frames.astype(int) - levels).max() <= 1
