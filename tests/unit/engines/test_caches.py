"""Caches are given back where a device was opened, and nowhere is a library loaded for it."""

import subprocess
import sys
from types import ModuleType, SimpleNamespace

import pytest

from ourvidz_worker.engines import give_back_caches


@pytest.mark.parametrize("is_open", [True, False])
def test_the_allocator_is_emptied_where_a_device_is_open(is_open: bool) -> None:
    """M-4."""
    emptied: list[bool] = []
    library = ModuleType("library")
    library.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        is_initialized=lambda: is_open, empty_cache=lambda: emptied.append(True)
    )
    give_back_caches(library)
    assert emptied == [True] * is_open


def test_no_library_is_loaded_for_it() -> None:
    words = "import sys; from ourvidz_worker.engines import give_back_caches as give; give()"
    code = f"{words}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
