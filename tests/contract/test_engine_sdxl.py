"""The picture engine keeps the engines' contract."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ourvidz_worker.domain.request import ImageRequest
from ourvidz_worker.engines import Engine, EngineSettings, make_engine
from ourvidz_worker.engines.encode import write_png
from ourvidz_worker.testing.check_engine import CHECKS, Check, Sample, load_checked, name_of
from ourvidz_worker.testing.tiny_models import build_sdxl

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PICTURE = ImageRequest(
    job_type="sdxl_image_fast",
    prompt="a red apple",
    negative_prompt="bad",
    steps=3,
    guidance=5.0,
    width=32,
    height=40,
)
GUIDED = msgspec.structs.replace(
    PICTURE, reference="given", strength=0.6, mode="modify", scheduler="euler_a"
)
REQUESTS = {
    "picture": PICTURE,
    "batch": msgspec.structs.replace(PICTURE, count=2, steps=2, guidance=1.0),
    "from a reference": GUIDED,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Engine[Any]:
    settings = EngineSettings(model=build_sdxl(folder / "sdxl"))
    return load_checked(make_engine("sdxl", settings))


@pytest.fixture(scope="module")
def reference(folder: Path) -> Path:
    path = folder / "reference.png"
    write_png(path, np.arange(50 * 40 * 3, dtype=np.uint32).astype(np.uint8).reshape(50, 40, 3))
    return path


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_sdxl(
    check: Check, name: str, engine: Engine[Any], reference: Path, tmp_path: Path
) -> None:
    request = REQUESTS[name]
    references = {"reference": reference} if request.reference else {}
    check(engine, Sample(name=name, request=request, references=references), tmp_path)
    assert set(engine.describe().components) == {"text_encoder", "text_encoder_2", "unet", "vae"}
