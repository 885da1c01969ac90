"""On a CUDA device, by hand: `pytest tests/gpu -m gpu`. Fails, and does not skip, without one."""

from pathlib import Path

import pytest
import torch

from ourvidz_worker.domain.errors import OutOfMemory
from ourvidz_worker.domain.request import ImageRequest
from ourvidz_worker.engines import EngineSettings, make_engine
from ourvidz_worker.engines.device import foreign_errors, open_device
from ourvidz_worker.testing.check_engine import CHECKS, Check, Sample, load_checked, name_of
from ourvidz_worker.testing.tiny_models import build_sdxl

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

PICTURE = ImageRequest(
    job_type="sdxl_image_fast",
    prompt="a red apple",
    negative_prompt="bad",
    steps=3,
    guidance=5.0,
    width=32,
    height=40,
)


def test_the_cap_is_real() -> None:
    compute = open_device("cuda", "bfloat16", memory_fraction=0.05)
    total = torch.cuda.get_device_properties(compute.device).total_memory
    with pytest.raises(OutOfMemory), foreign_errors():
        torch.empty(int(0.1 * total), dtype=torch.uint8, device=compute.device)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_the_picture_engine_keeps_its_contract_on_the_card(check: Check, tmp_path: Path) -> None:
    settings = EngineSettings(
        model=build_sdxl(tmp_path / "sdxl"), device="cuda", dtype="float32", memory_fraction=0.5
    )
    engine = load_checked(make_engine("sdxl", settings))
    assert engine.describe().device != "cpu"
    check(engine, Sample(name="picture", request=PICTURE), tmp_path)
