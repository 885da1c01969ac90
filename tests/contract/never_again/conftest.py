"""Models that the requirements' tests share; each is loaded once."""

import json
import os
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.engines.engine_bench import load

from ourvidz_worker.engines import Engine
from ourvidz_worker.testing.tiny_models import build_llama, build_qwen2, build_sdxl, build_wan

HERE = Path(__file__).parent
POCKET = Path(__file__).parents[3] / "models" / "pocket"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The schedulers of diffusers make numpy 2 warn of torch's arrays."""
    ignored = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(ignored)


@pytest.fixture(scope="session")
def sdxl(tmp_path_factory: pytest.TempPathFactory) -> Engine[Any]:
    """A tiny SDXL checkpoint."""
    return load("sdxl", build_sdxl(tmp_path_factory.mktemp("tiny") / "sdxl"))


@pytest.fixture(scope="session")
def wan_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Wan checkpoint with VACE blocks, as it lies on the disk."""
    return build_wan(tmp_path_factory.mktemp("tiny") / "vace", vace=True)


@pytest.fixture(scope="session")
def wan(wan_folder: Path) -> Engine[Any]:
    """That checkpoint, loaded."""
    return load("wan", wan_folder)


@pytest.fixture(scope="session")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Engine[Any]:
    """Tiny Instruct and Base models."""
    folder = tmp_path_factory.mktemp("tiny")
    qwen = build_qwen2(folder / "qwen", context=2048)
    llama = build_llama(folder / "llama", context=2048)
    return load("chat_transformers", qwen, second_model=llama)


@pytest.fixture(scope="session")
def pocket_wan(tmp_path_factory: pytest.TempPathFactory) -> Engine[Any]:
    """The pocket video model, trained, asked for clips so short that they take a second."""
    folder = tmp_path_factory.mktemp("pocket") / "video"
    shutil.copytree(POCKET / "video", folder, copy_function=os.symlink)
    (folder / "ourvidz.json").unlink()
    native = {"sizes": [[48, 64]], "frames": [5], "max_prompt_tokens": 64}
    (folder / "ourvidz.json").write_text(json.dumps({"name": "pocket", "native": native}))
    return load("wan", folder)


@pytest.fixture(scope="session")
def photo() -> Callable[..., bytes]:
    """Makes a smooth coloured picture as PNG bytes; another tone is another picture."""

    def make(tone: int = 0, *, size: tuple[int, int] = (64, 96)) -> bytes:
        width, height = size
        rows, columns = np.mgrid[0:height, 0:width] / max(size)
        channels = rows * 120 + tone, columns * 120 + 60, (rows + columns) * 60 + 120 - tone
        pixels = np.clip(np.stack(channels, axis=-1), 0, 255).astype(np.uint8)
        file = BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    return make
