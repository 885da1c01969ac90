"""Storage of results. Choose one by name through `make_storage`."""

from importlib import import_module
from pathlib import Path

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.storage.base import Storage

#: Name to `module:class`; each class takes `(root: Path)`.
STORAGES = {"local": "ourvidz_worker.storage.local:LocalStorage"}


def make_storage(name: str, root: Path) -> Storage:
    """Build the storage `name`."""
    if name not in STORAGES:
        raise ConfigError(f"storage must be one of {', '.join(sorted(STORAGES))}", field="storage")
    module, _, attribute = STORAGES[name].partition(":")
    storage: Storage = getattr(import_module(module), attribute)(root)
    return storage


__all__ = ["STORAGES", "Storage", "make_storage"]
