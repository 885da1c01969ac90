"""Tiny models and engines that the tests of this folder share; each is built once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.engines.engine_bench import Bench, load

from ourvidz_worker.engines import Engine
from ourvidz_worker.testing.tiny_models import build_llama, build_qwen2, build_sdxl, build_wan

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The schedulers of diffusers make numpy 2 warn of torch's arrays."""
    ignored = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(ignored)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `sdxl`, `wan`, `vace`, `qwen` and `llama` below it."""
    folder = tmp_path_factory.mktemp("tiny")
    build_sdxl(folder / "sdxl")
    build_wan(folder / "wan")
    build_wan(folder / "vace", vace=True)
    build_qwen2(folder / "qwen")
    build_llama(folder / "llama")
    return folder


@pytest.fixture(scope="session")
def sdxl_engine(tiny: Path) -> Engine[Any]:
    return load("sdxl", tiny / "sdxl")


@pytest.fixture(scope="session")
def wan_engine(tiny: Path) -> Engine[Any]:
    return load("wan", tiny / "wan")


@pytest.fixture(scope="session")
def vace_engine(tiny: Path) -> Engine[Any]:
    return load("wan", tiny / "vace")


@pytest.fixture(scope="session")
def chat_engine(tiny: Path) -> Engine[Any]:
    return load("chat_transformers", tiny / "qwen", second_model=tiny / "llama")


@pytest.fixture
def pictures(sdxl_engine: Engine[Any], tmp_path: Path) -> Bench:
    return Bench(sdxl_engine, tmp_path / "pictures")


@pytest.fixture
def clips(wan_engine: Engine[Any], tmp_path: Path) -> Bench:
    return Bench(wan_engine, tmp_path / "clips")


@pytest.fixture
def guided_clips(vace_engine: Engine[Any], tmp_path: Path) -> Bench:
    return Bench(vace_engine, tmp_path / "guided")


@pytest.fixture
def chats(chat_engine: Engine[Any], tmp_path: Path) -> Bench:
    return Bench(chat_engine, tmp_path / "chats")


@pytest.fixture
def make_photo(tmp_path: Path) -> Callable[..., Path]:
    """Writes a smooth coloured picture; equal arguments give equal pictures."""

    def make(name: str = "photo", *, size: tuple[int, int] = (64, 80), tone: int = 0) -> Path:
        width, height = size
        rows, columns = np.mgrid[0:height, 0:width]
        channels = (rows * 3 + tone) % 256, (columns * 3) % 256, (rows + columns + tone) % 256
        path = tmp_path / f"{name}.png"
        Image.fromarray(np.stack(channels, axis=-1).astype(np.uint8)).save(path)
        return path

    return make
