"""Storage of results. Choose one by name through `make_storage`."""

from importlib import import_module
from pathlib import Path

import msgspec

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.storage.base import Storage


class StorageSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What a storage is given: `root` is a folder of this machine, the rest an application's."""

    root: Path
    url: str = ""
    key: str = ""


#: Name to `module:class`; each class takes `(settings: StorageSettings, clock: Clock)`.
STORAGES = {
    "local": "ourvidz_worker.storage.local:LocalStorage",
    "supabase": "ourvidz_worker.storage.supabase:SupabaseStorage",
}


def make_storage(name: str, settings: StorageSettings, clock: Clock) -> Storage:
    """Build the storage `name`. Raises `ConfigError` for a name that nothing has."""
    if name not in STORAGES:
        raise ConfigError(f"storage must be one of {', '.join(sorted(STORAGES))}", field="storage")
    module, _, attribute = STORAGES[name].partition(":")
    storage: Storage = getattr(import_module(module), attribute)(settings, clock)
    return storage


__all__ = ["STORAGES", "Storage", "StorageSettings", "make_storage"]
