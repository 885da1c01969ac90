"""The small models that come with the project: what there is, where it lies, whether it is whole.

`manifest.json` lists every model with the digests of its files. Most lie beside it; one is fetched
from a package registry at set-up and kept, converted, in the cache.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import msgspec

import ourvidz_worker
from ourvidz_worker.domain.errors import ConfigError

PACKAGE = "ourvidz_pocket"
MANIFEST = "manifest.json"
ABOUT = "ourvidz.json"
SHIPPED = "shipped"
REGISTRY = "pypi:"

Health = Literal["ok", "missing", "damaged"]


class FileEntry(msgspec.Struct, frozen=True, kw_only=True):
    """What a file must be: its SHA-256 (hex) and its size in bytes."""

    sha256: str
    size: int


class ModelEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One model of the manifest.

    `source` is `shipped`, or `pypi:NAME==VERSION` for a package of which `files` names one member
    to take and convert. `title` is the model's own name.
    """

    source: str
    files: dict[str, FileEntry]
    title: str = ""
    licence: str = ""


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What a converted model's folder says of itself."""

    name: str = ""
    files: dict[str, FileEntry] = {}


class ShelfModel(msgspec.Struct, frozen=True, kw_only=True):
    """One model: what the manifest says, and the folder where it lies or will lie."""

    name: str
    entry: ModelEntry
    folder: Path

    @property
    def is_shipped(self) -> bool:
        """True when its files come with the project."""
        return self.entry.source == SHIPPED

    @property
    def size_bytes(self) -> int:
        """How many bytes are shipped or fetched."""
        return sum(file.size for file in self.entry.files.values())


class Shelf(msgspec.Struct, frozen=True, kw_only=True):
    """All small models of this installation."""

    models: tuple[ShelfModel, ...]

    def find(self, name: str) -> ShelfModel | None:
        """One model by its name in the manifest."""
        return next((model for model in self.models if model.name == name), None)


def open_shelf() -> Shelf:
    """Read the manifest. Raises `ConfigError` when there is none or it is not one."""
    places = _places()
    manifest = next((place / MANIFEST for place in places if (place / MANIFEST).is_file()), None)
    if manifest is None:
        raise ConfigError("The small models are not installed here; start in the project's folder.")
    try:
        entries = msgspec.json.decode(manifest.read_bytes(), type=dict[str, ModelEntry])
    except (OSError, msgspec.MsgspecError) as error:
        raise ConfigError("The small models' manifest.json cannot be read.") from error
    cache = [cache_folder()]
    return Shelf(
        models=tuple(
            ShelfModel(
                name=name,
                entry=entry,
                folder=_home(name, places if entry.source == SHIPPED else cache),
            )
            for name, entry in entries.items()
        )
    )


def is_there(model: ShelfModel) -> bool:
    """True when the model's files have their sizes; digests are not computed."""
    expected = expected_files(model)
    return bool(expected) and all(
        (model.folder / name).is_file() and (model.folder / name).stat().st_size == file.size
        for name, file in expected.items()
    )


def verify(model: ShelfModel) -> Health:
    """Read every byte and compare digests."""
    if not is_there(model):
        return "damaged" if model.folder.exists() else "missing"
    expected = expected_files(model)
    good = all(digest(model.folder / name) == file.sha256 for name, file in expected.items())
    return "ok" if good else "damaged"


def expected_files(model: ShelfModel) -> dict[str, FileEntry]:
    """The files the folder must hold: the manifest's, or those recorded when it was converted."""
    if model.is_shipped:
        return model.entry.files
    try:
        about = msgspec.json.decode((model.folder / ABOUT).read_bytes(), type=About)
    except (OSError, msgspec.MsgspecError):
        return {}
    return about.files


def digest(file: Path) -> str:
    """SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def cache_folder() -> Path:
    """Where fetched models are kept: in the project's folder, else in the user's cache."""
    root = _project_root()
    if root is not None:
        return root / "models" / "cache"
    return Path.home() / ".cache" / "ourvidz-worker" / "models"


def _home(name: str, places: Sequence[Path]) -> Path:
    """Where the model lies; the first place, where it lies in none."""
    return next((place / name for place in places if (place / name).is_dir()), places[0] / name)


def _places() -> list[Path]:
    """Where models and manifest may be shipped: the installed package, then the source tree."""
    spec = find_spec(PACKAGE)
    package = [Path(place) for place in (spec.submodule_search_locations or ())] if spec else []
    root = _project_root()
    return [*package, root / "models" / "pocket"] if root else package


def _project_root() -> Path | None:
    """The folder of the source tree this package runs from, None when it was installed."""
    root = Path(ourvidz_worker.__file__).resolve().parents[2]
    return root if (root / "pyproject.toml").is_file() else None
