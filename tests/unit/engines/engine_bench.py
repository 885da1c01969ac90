"""Small requests, and a bench that runs them through one engine."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from ourvidz_worker.domain.request import ImageRequest, Request, VideoRequest
from ourvidz_worker.engines import Engine, EngineSettings, Product, Task, make_engine
from ourvidz_worker.testing.check_engine import compute
from ourvidz_worker.testing.gate import RecordingGate

Loose = Any
"""A value whose type the libraries do not tell, or that a test varies at will."""

NOTHING: Mapping[str, Path] = MappingProxyType({})

PICTURE = ImageRequest(
    job_type="sdxl_image_fast",
    prompt="a red apple",
    negative_prompt=None,
    steps=3,
    guidance=5.0,
    width=32,
    height=40,
)
CLIP = VideoRequest(
    job_type="video_fast",
    prompt="a red apple",
    negative_prompt=None,
    steps=2,
    guidance=5.0,
    width=32,
    height=48,
    frames=5,
)


class Bench:
    """Runs requests through one engine, each in a spool directory of its own."""

    def __init__(self, engine: Engine[Any], folder: Path) -> None:
        self.engine = engine
        self.gate = RecordingGate()
        self._folder = folder
        self._count = 0

    def task(
        self,
        request: Request,
        given: Mapping[str, Path] = NOTHING,
        *,
        seed: int = 7,
        **references: Path,
    ) -> Task:
        self._count += 1
        spool = self._folder / f"spool-{self._count}"
        spool.mkdir(parents=True)
        return Task(request=request, seed=seed, spool=spool, references={**given, **references})

    def compute(
        self,
        request: Request,
        given: Mapping[str, Path] = NOTHING,
        *,
        seed: int = 7,
        **references: Path,
    ) -> Loose:
        self.gate = RecordingGate()
        task = self.task(request, given, seed=seed, **references)
        return compute(self.engine, task, self.gate)

    def run(
        self,
        request: Request,
        given: Mapping[str, Path] = NOTHING,
        *,
        seed: int = 7,
        **references: Path,
    ) -> Product:
        self.gate = RecordingGate()
        task = self.task(request, given, seed=seed, **references)
        return self.engine.finish(compute(self.engine, task, self.gate), task.spool)


def load(name: str, model: Path, **settings: Loose) -> Engine[Any]:
    engine = make_engine(name, EngineSettings(model=model, **settings))
    engine.load(lambda part, fraction: None)
    return engine


def picture_with(**changes: Loose) -> ImageRequest:
    return msgspec.structs.replace(PICTURE, **changes)


def guided_picture(**changes: Loose) -> ImageRequest:
    return picture_with(**{"reference": "given", "strength": 0.5, "mode": "modify"} | changes)


def clip_with(**changes: Loose) -> VideoRequest:
    return msgspec.structs.replace(CLIP, **changes)
