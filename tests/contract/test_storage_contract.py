"""Every registered storage keeps the promises of the port."""

from pathlib import Path

import pytest

from ourvidz_worker.clock import SystemClock
from ourvidz_worker.storage import STORAGES, StorageSettings, make_storage
from ourvidz_worker.testing.check_storage import PROMISES, Promise
from ourvidz_worker.testing.supabase import SupabaseEmulator


@pytest.mark.anyio
@pytest.mark.parametrize("name", sorted(STORAGES))
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_promise(
    name: str, promise: Promise, tmp_path: Path, supabase: SupabaseEmulator
) -> None:
    settings = StorageSettings(
        root=tmp_path / "storage", url=supabase.url, key=supabase.state.keys.service
    )
    storage = make_storage(name, settings, SystemClock())
    await promise(storage, tmp_path / "spool")
    await storage.close()
    assert (tmp_path / "spool").is_dir()
