"""Every registered storage keeps the promises of the port."""

from pathlib import Path

import pytest

from ourvidz_worker.storage import STORAGES, make_storage
from ourvidz_worker.testing.check_storage import PROMISES, Promise


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(STORAGES))
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_promise(name: str, promise: Promise, tmp_path: Path) -> None:
    await promise(make_storage(name, tmp_path / "storage"), tmp_path / "spool")
    assert (tmp_path / "spool").is_dir()
