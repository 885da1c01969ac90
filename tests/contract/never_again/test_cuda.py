"""The CUDA device (line 1); `tests/gpu` holds the same on a real card."""

import ast
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from msgspec.structs import replace

import ourvidz_worker
from ourvidz_worker.config import Config
from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.engines import make_engine
from ourvidz_worker.testing.tiny_models import build_qwen2, build_sdxl, build_wan
from ourvidz_worker.wiring.models import engine_of, settings_of

SOURCE = Path(ourvidz_worker.__file__).parent
GPU_TESTS = Path(__file__).parents[2] / "gpu"
REAL_ENGINE = "test_the_picture_engine_keeps_its_contract_on_the_card"
INVENTED = "memory_limit"
"""The end of a name that torch never had (M-1)."""

WORKERS: dict[Lane, tuple[str, Callable[[Path], Path], float]] = {
    Lane.IMAGE: ("sdxl_model_path", build_sdxl, 0.21),
    Lane.CHAT: ("qwen_instruct_path", build_qwen2, 0.31),
    Lane.VIDEO: ("wan_model_path", build_wan, 0.63),
}
"""Each worker's setting for its model, a tiny model, and its share of the card (9)."""


def chains_of(tree: ast.AST) -> Iterator[str]:
    """Every dotted name of torch that a module uses, written out in full."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                root = name.name if name.asname else name.name.partition(".")[0]
                bound[name.asname or root] = root
                yield name.name
        elif isinstance(node, ast.ImportFrom):
            for name in node.names:
                bound[name.asname or name.name] = f"{node.module}.{name.name}"
                yield f"{node.module}.{name.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            parts = [node.attr]
            inner: ast.expr = node.value
            while isinstance(inner, ast.Attribute):
                parts.append(inner.attr)
                inner = inner.value
            if isinstance(inner, ast.Name) and inner.id in bound:
                yield ".".join([bound[inner.id], *reversed(parts)])


def torch_names() -> dict[str, list[str]]:
    """Every name of torch in the sources, and the files that use it."""
    found: dict[str, list[str]] = {}
    for file in sorted(SOURCE.rglob("*.py")):
        for chain in chains_of(ast.parse(file.read_text(encoding="utf-8"))):
            if chain.partition(".")[0] == "torch":
                found.setdefault(chain, []).append(str(file.relative_to(SOURCE)))
    return found


def exists(chain: str) -> bool:
    """True when the installed torch has that name, as a module or as an attribute."""
    here: Any = torch
    path = "torch"
    for part in chain.split(".")[1:]:
        path = f"{path}.{part}"
        if isinstance(here, ModuleType) and not hasattr(here, part):
            try:
                importlib.import_module(path)
            except ImportError:
                return False
        if not hasattr(here, part):
            return False
        here = getattr(here, part)
    return True


def test_01_every_name_of_torch_that_is_used_exists() -> None:
    """M-1: resolved against the installed torch, whatever the device."""
    names = torch_names()
    assert len(names) > 40
    assert "torch.cuda.set_per_process_memory_fraction" in names
    assert {chain: names[chain] for chain in names if not exists(chain)} == {}
    assert [chain for chain in names if chain.endswith(INVENTED)] == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import torch\ntorch.cuda.set_per_process_memory_limit(1)", False),
        ("from torch import cuda as c\nc.set_per_process_memory_limit", False),
        ("from torch.cuda import memory_limit", False),
        ("import torch.nn.functional as f\nf.no_such(1)", False),
        ("import torch\ntorch.cuda.memory.mem_get_info()", True),
        ("from torch.nn import functional\nfunctional.interpolate", True),
    ],
)
def test_01_a_name_that_torch_lacks_would_be_found(source: str, found: bool) -> None:
    """The reading above sees each way a name can be written."""
    assert all(exists(chain) for chain in chains_of(ast.parse(source))) is found


class Recorder:
    """Stands for `torch.cuda` at its border, and writes down what it is told, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, object]] = []
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        for name in ("set_device", "init", "set_per_process_memory_fraction"):
            monkeypatch.setattr(torch.cuda, name, self._noting(name))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a card")
        moved = torch.nn.Module.to

        def to(module: torch.nn.Module, *where: object, **options: object) -> torch.nn.Module:
            self.calls.append(("weights", None))
            return moved(module, *where, **options)  # type: ignore[call-overload, no-any-return]

        monkeypatch.setattr(torch.nn.Module, "to", to)

    def _noting(self, name: str) -> Callable[..., None]:
        def note(*given: object) -> None:
            self.calls.append((name, given[0] if given else None))

        return note


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    """A recorder; what pinning the kernels sets is put back."""
    flags: list[tuple[Any, str]] = [
        (torch.backends.cudnn, "benchmark"),
        (torch.backends.cudnn, "deterministic"),
        (torch.backends.cudnn, "allow_tf32"),
        (torch.backends.cuda.matmul, "allow_tf32"),
    ]
    before = [getattr(holder, name) for holder, name in flags]
    yield Recorder(monkeypatch)
    for (holder, name), value in zip(flags, before, strict=True):
        setattr(holder, name, value)


@pytest.mark.parametrize("lane", WORKERS)
def test_01_a_worker_caps_its_memory_before_anything_else(
    lane: Lane, cuda: Recorder, tmp_path: Path
) -> None:
    """M-1: from the settings on, the share is set right after the device is chosen."""
    variable, build, share = WORKERS[lane]
    config = replace(
        Config(), device="cuda", dtype="float32", **{variable: str(build(tmp_path / "model"))}
    )
    settings = settings_of(config, lane)
    assert settings is not None
    cuda.calls.clear()
    with pytest.raises(ModelLoadFailed):  # there is no card to put the weights on
        make_engine(engine_of(config, lane), settings).load(lambda part, fraction: None)
    assert cuda.calls[:3] == [
        ("set_device", torch.device("cuda")),
        ("init", None),
        ("set_per_process_memory_fraction", share),
    ]


def test_01_the_run_on_a_real_card_is_there() -> None:
    """The tests for a card are marked as such and fail, not skip, where there is none."""
    names: set[str] = set()
    for file in sorted(GPU_TESTS.glob("test_*.py")):
        nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
        used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        assert "gpu" in used, file.name
        assert not {"skip", "skipif", "importorskip"} & used, file.name
        names |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    assert {"test_the_cap_is_real", REAL_ENGINE} <= names
