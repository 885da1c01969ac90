"""Draws pictures with the worker's own picture engine, as a job would, and times them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.request import ImageRequest
from ourvidz_worker.engines import EngineSettings, Task, make_engine
from ourvidz_worker.testing.gate import RecordingGate
from tools.pocket.image_export import SampleSetting
from tools.pocket.probe import PROBE_PX, Pixels

FAST, HIGH = JOB_TYPES["sdxl_image_fast"], JOB_TYPES["sdxl_image_high"]
DEFAULT = SampleSetting(FAST.steps, FAST.guidance)
THOROUGH = SampleSetting(HIGH.steps, HIGH.guidance)
FEW = SampleSetting(6, 1.0)
COPY_STRENGTH = 0.05


@dataclass(frozen=True, kw_only=True)
class Painted:
    """One picture (uint8 ``[H, W, 3]``) and the seconds it took, from request to file."""

    pixels: Pixels
    cpu_s: float
    wall_s: float


class Painter:
    """One loaded engine; every picture gets a folder of its own below ``spool``."""

    def __init__(self, model: Path, spool: Path, threads: int = 1) -> None:
        """Load the model. Raises the engine's `ModelLoadFailed`."""
        self._engine = make_engine("sdxl", EngineSettings(model=model, threads=threads))
        self._engine.load(lambda part, fraction: None)
        self._spool = spool
        self._count = 0
        self.versions: dict[str, str] = {}

    @property
    def digest(self) -> str:
        """The digest of the model's files."""
        return str(self._engine.describe().details["model_digest"])

    def paint(self, prompt: str, setting: SampleSetting, seed: int) -> Painted:
        """Draw a prompt."""
        return self._run(_request(prompt, setting), seed, {})

    def modify(
        self, reference: Path, strength: float, prompt: str, setting: SampleSetting, seed: int
    ) -> Painted:
        """Draw a prompt from a reference picture, leaving it as far as ``strength``."""
        request = _request(prompt, setting, reference=str(reference), strength=strength)
        return self._run(request, seed, {"reference": reference})

    def copy(self, reference: Path, seed: int) -> Painted:
        """Copy a reference picture as the contract's copy mode does (4.1)."""
        request = _request(
            "",
            SampleSetting(DEFAULT.steps, 1.0),
            reference=str(reference),
            strength=COPY_STRENGTH,
            mode="copy",
        )
        return self._run(request, seed, {"reference": reference})

    def _run(self, request: ImageRequest, seed: int, references: dict[str, Path]) -> Painted:
        self._count += 1
        spool = self._spool / f"{self._count:04d}"
        spool.mkdir(parents=True)
        task = Task(request=request, seed=seed, spool=spool, references=references)
        wall, cpu = time.monotonic(), time.process_time()
        gate = RecordingGate()
        work = self._engine.begin(task)
        for stage in self._engine.stages(task):
            work = stage.run(work, gate)
        product = self._engine.finish(work, spool)
        cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - wall
        self.versions = product.versions
        name = product.artifacts[0].file
        if name is None:
            raise RuntimeError("The engine wrote no file.")
        pixels = np.asarray(Image.open(spool / name).convert("RGB"))
        return Painted(pixels=pixels, cpu_s=cpu_s, wall_s=wall_s)


def _request(
    prompt: str,
    setting: SampleSetting,
    *,
    reference: str | None = None,
    strength: float | None = None,
    mode: str = "modify",
) -> ImageRequest:
    return ImageRequest(
        job_type=FAST.name,
        prompt=prompt,
        negative_prompt=None,
        steps=setting.steps,
        guidance=setting.guidance,
        width=PROBE_PX,
        height=PROBE_PX,
        reference=reference,
        strength=strength,
        mode="none" if reference is None else "copy" if mode == "copy" else "modify",
    )
