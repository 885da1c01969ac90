"""The rules that no linter sees."""

import ast
import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ourvidz_worker.engines import ENGINES
from ourvidz_worker.queue import QUEUES
from ourvidz_worker.storage import STORAGES

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "ourvidz_worker"
BORDERS = {"worker/attempt.py", "api/border.py", "pod/supervisor.py"}
HEAVY = ("torch", "transformers", "diffusers", "vllm")


def modules() -> list[str]:
    """Every module of the package."""
    names = []
    for file in sorted(SOURCE.rglob("*.py")):
        parts = file.relative_to(SOURCE.parent).with_suffix("").parts
        names.append(".".join(parts).removesuffix(".__init__"))
    return names


def functions(tree: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """The test functions of a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith(
            "test"
        ):
            yield node


def can_fail(test: ast.AST) -> bool:
    """True when a test asserts, expects an error, or calls something that checks."""
    for node in ast.walk(test):
        if isinstance(node, ast.Assert):
            return True
        if isinstance(node, ast.Call) and re.search(
            r"raises|warns|check|assert|expect", ast.unparse(node.func)
        ):
            return True
    return False


def test_every_test_can_fail() -> None:
    idle = [
        f"{file.relative_to(ROOT)}:{test.lineno} {test.name}"
        for file in sorted((ROOT / "tests").rglob("test_*.py"))
        for test in functions(ast.parse(file.read_text(encoding="utf-8")))
        if not can_fail(test)
    ]
    assert idle == []


def test_broad_excepts_stand_at_the_three_borders_alone() -> None:
    found = {
        file.relative_to(SOURCE).as_posix()
        for file in SOURCE.rglob("*.py")
        if re.search(r"^\s*except Exception\b", file.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert found <= BORDERS


@pytest.mark.parametrize("registry", [ENGINES, QUEUES, STORAGES])
def test_every_registered_implementation_imports(registry: dict[str, str]) -> None:
    for target in registry.values():
        module, _, attribute = target.partition(":")
        assert hasattr(importlib.import_module(module), attribute)


def test_no_module_works_at_import_or_loads_a_model_library_outside_the_engines() -> None:
    names = [name for name in modules() if not re.search(r"\.(engines\.|testing\.|__main__)", name)]
    code = (
        f"import sys, importlib\nfor name in {names!r}: importlib.import_module(name)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={"PATH": "/usr/bin"}
    )
    assert run.stdout.strip() == "[]", run.stderr


def test_the_project_speaks_of_itself_alone() -> None:
    tracked = subprocess.run(
        ["git", "ls-files", "*.py", "*.md", "*.toml", "Makefile"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    foreign = re.compile(r"\.\./shared|/work/|issue #?\d", re.IGNORECASE)
    own = "tests/meta/test_rules.py"
    guilty = [
        name
        for name in tracked
        if name != own and foreign.search((ROOT / name).read_text(encoding="utf-8"))
    ]
    assert guilty == []
