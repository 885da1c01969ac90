"""The memory that a configuration describes: a card, a simulated one, or none."""

import sys
from types import ModuleType, SimpleNamespace

import pytest

from ourvidz_worker.config import Config
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import GIB
from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.wiring.memory import card_bytes, shared_out

FAKE = {"image_engine": "fake", "chat_engine": "fake", "video_engine": "fake"}


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A driver with a card of 80 GiB; what was asked for is noted."""
    asked: list[object] = []
    library = ModuleType("pynvml")

    def handle(name: object) -> object:
        asked.append(name)
        return name

    memory = SimpleNamespace(total=80 * GIB, free=79 * GIB)
    for name, function in {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByIndex": handle,
        "nvmlDeviceGetHandleByUUID": handle,
        "nvmlDeviceGetMemoryInfo": lambda handle: memory,
    }.items():
        setattr(library, name, function)
    monkeypatch.setitem(sys.modules, "pynvml", library)
    return asked


@pytest.mark.parametrize(
    ("device", "visible", "card"),
    [
        ("", None, 0),
        ("cuda:1", None, 1),
        ("", "3", 3),
        ("cuda:1", "GPU-a, GPU-b", "GPU-b"),
    ],
)
def test_the_card_is_the_one_that_the_workers_see(
    driver: list[object],
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    visible: str | None,
    card: object,
) -> None:
    """M-2: what is measured is the device on which the workers compute."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert card_bytes(Config(device=device)) == 80 * GIB
    assert driver == [card]


def test_without_a_card_the_device_is_simulated_or_absent(driver: list[object]) -> None:
    assert card_bytes(Config(device="cpu")) == 0
    assert card_bytes(Config(device="cpu", device_memory_gb=48)) == 48 * GIB
    assert card_bytes(Config(device_memory_gb=1.5, **FAKE)) == 3 * GIB // 2  # type: ignore[arg-type]
    assert driver == []


def test_each_worker_is_capped_at_its_budget_s_share_of_this_card() -> None:
    """M-1: on other cards the fraction is budget/total, and the operator's own share wins."""
    models = {
        Lane.IMAGE: EngineSettings(memory_fraction=0.21),
        Lane.CHAT: EngineSettings(memory_fraction=0.5),
        Lane.VIDEO: EngineSettings(memory_fraction=None),
    }
    shares = {lane: one.memory_fraction for lane, one in shared_out(models, 80 * GIB).items()}
    assert shares == {Lane.IMAGE: 0.125, Lane.CHAT: 0.5, Lane.VIDEO: None}
    assert shared_out(models, 0) == models
