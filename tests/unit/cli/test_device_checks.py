"""What will run on this machine, and whether the models named fit."""

from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest

from ourvidz_worker.cli import device_checks, probe
from ourvidz_worker.cli.device_checks import (
    GIBIBYTE,
    Card,
    Torch,
    ask_torch,
    check_memory,
    check_torch,
)
from ourvidz_worker.cli.finding import Finding
from ourvidz_worker.config import Config

DEPLOYED = Config(redis_url="redis://127.0.0.1")
BIG = Card(name="RTX 6000 Ada", total=48 * GIBIBYTE, free=47 * GIBIBYTE)
SMALL = Card(name="RTX 4090", total=24 * GIBIBYTE, free=16 * GIBIBYTE)


def on(*cards: Card) -> Torch:
    return Torch(version="2.13.0", cuda="13.0", cards=cards)


def told(found: list[Finding], level: str) -> str:
    assert all(finding.cure for finding in found if finding.level != "ok")
    return " | ".join(finding.told for finding in found if finding.level == level)


def model(folder: Path, name: str, gibibytes: float) -> str:
    """A weights file of that size that takes no room on the disk."""
    folder.mkdir(exist_ok=True)
    with (folder / name).open("wb") as file:
        file.truncate(int(gibibytes * GIBIBYTE))
    return str(folder / name)


def test_the_card_is_told() -> None:
    (found,) = check_torch(on(BIG), DEPLOYED)
    assert (found.level, found.told) == ("ok", "2.13.0, CUDA 13.0, RTX 6000 Ada")


def test_a_machine_without_a_card_says_what_will_run() -> None:
    """O-3: judged by what can be done, and said."""
    assert "run on the CPU" in told(check_torch(on(), Config()), "ok")
    assert "run on the CPU" in told(check_torch(Torch(version="2"), DEPLOYED), "warn")
    meant = msgspec.structs.replace(DEPLOYED, device="cpu")
    assert "run on the CPU" in told(check_torch(on(BIG), meant), "ok")


@pytest.mark.parametrize(
    ("torch", "why"),
    [
        (Torch(version="2"), "built without CUDA"),
        (on(), "no CUDA device"),
        (on(BIG), "no such CUDA device"),
    ],
)
def test_a_device_that_is_asked_for_must_be_there(torch: Torch, why: str) -> None:
    wanted = msgspec.structs.replace(DEPLOYED, device="cuda:1")
    assert why in told(check_torch(torch, wanted), "fail")


def test_a_torch_that_cannot_be_used_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.executable", "/bin/false")
    assert "it fails" in told(check_torch(ask_torch(), Config()), "fail")
    monkeypatch.setattr("sys.executable", "/usr/bin/tail")
    monkeypatch.setattr(device_checks, "PROBE_S", 0)
    assert "no answer in 0 s" in told(check_torch(ask_torch(), Config()), "fail")


def test_a_small_card_and_a_foreign_process_are_warned_of() -> None:
    """O-3: below 40 GiB is a warning."""
    warned = told(check_memory(on(SMALL), DEPLOYED), "warn")
    assert "24.0 GiB, 16.0 GiB free: below 40 GiB" in warned
    assert "another process holds 8.0 GiB" in warned
    assert told(check_memory(on(BIG), DEPLOYED), "warn") == ""


def test_models_are_held_against_the_card(tmp_path: Path) -> None:
    """M-1, M-2: weights below the lane's cap, all of them within what is free less 2 GiB."""
    config = Config(
        redis_url="redis://127.0.0.1",
        sdxl_model_path=model(tmp_path, "sdxl.safetensors", 6.5),
        qwen_instruct_path=model(tmp_path, "instruct.safetensors", 15),
        qwen_base_path=model(tmp_path, "base.safetensors", 15),
        wan_model_path=model(tmp_path, "wan.safetensors", 14),
    )
    found = check_memory(on(BIG), config)
    assert [finding.what for finding in found] == ["memory", "CHAT_MEMORY_FRACTION", "models"]
    assert "weights of 30.0 GiB fill its cap of 15.0 GiB" in found[1].told
    assert "models of 50.5 GiB, room for 45.0 GiB: not all are loaded at once" in found[2].told
    lighter = msgspec.structs.replace(config, qwen_base_path="", chat_memory_fraction=0.4)
    assert told(check_memory(on(BIG), lighter), "warn") == ""


def test_one_model_under_two_names_weighs_once(tmp_path: Path) -> None:
    path = model(tmp_path, "chat.safetensors", 10)
    config = Config(qwen_instruct_path=path, qwen_base_path=path)
    assert "models of 10.0 GiB" in told(check_memory(on(BIG), config), "ok")


def test_without_a_card_the_machines_own_memory_counts(tmp_path: Path) -> None:
    assert "no GPU is used" in told(check_memory(on(), Config()), "ok")
    config = Config(sdxl_model_path=model(tmp_path, "huge.safetensors", 4000))
    assert "models of 4000.0 GiB" in told(check_memory(on(), config), "warn")


def test_the_probe_tells_every_card(monkeypatch: pytest.MonkeyPatch) -> None:
    """M-2: free memory as the driver tells it, for each card."""
    cuda = SimpleNamespace(
        is_available=lambda: True,
        device_count=lambda: 2,
        mem_get_info=lambda number: (10 + number, 20),
        get_device_name=lambda number: f"card {number}",
    )
    torch = SimpleNamespace(cuda=cuda, __version__="2", version=SimpleNamespace(cuda="13.0"))
    monkeypatch.setattr(probe, "import_module", {"torch": torch}.__getitem__)
    told = msgspec.json.decode(probe.torch_device(), type=Torch)
    assert told == Torch(
        version="2",
        cuda="13.0",
        cards=(Card(name="card 0", total=20, free=10), Card(name="card 1", total=20, free=11)),
    )
