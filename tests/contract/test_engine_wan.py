"""The clip engine keeps the engines' contract, with references and without."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ourvidz_worker.domain.request import VideoRequest
from ourvidz_worker.engines import Engine, EngineSettings, make_engine
from ourvidz_worker.engines.encode import write_png
from ourvidz_worker.testing.check_engine import CHECKS, Check, Sample, load_checked, name_of
from ourvidz_worker.testing.tiny_models import build_wan

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

CLIP = VideoRequest(
    job_type="video_fast",
    prompt="a red apple",
    negative_prompt=None,
    steps=2,
    guidance=1.0,
    width=32,
    height=48,
    frames=5,
)
REQUESTS = {
    "clip": msgspec.structs.replace(CLIP, guidance=4.0),
    "still": msgspec.structs.replace(CLIP, frames=1, solver="unipc"),
    "both ends": msgspec.structs.replace(CLIP, mode="both", first="a", last="b"),
    "subject": msgspec.structs.replace(CLIP, mode="single", image="a"),
}
STOP_EVERY = 3
"""The gate is asked before every block: each third question tells as much."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine[Any]:
    settings = EngineSettings(model=build_wan(folder / "vace", vace=True))
    return load_checked(make_engine("wan", settings))


@pytest.fixture(scope="module")
def references(folder: Path) -> dict[str, Path]:
    path = folder / "reference.png"
    write_png(path, np.arange(50 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(50, 40, 3))
    return {"first": path, "last": path, "image": path}


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_wan(
    check: Check, name: str, engine: Engine[Any], references: dict[str, Path], tmp_path: Path
) -> None:
    sample = Sample(name=name, request=REQUESTS[name], references=references, stop_every=STOP_EVERY)
    check(engine, sample, tmp_path)
    assert set(engine.describe().components) == {"text_encoder", "transformer", "vae", "vace"}
