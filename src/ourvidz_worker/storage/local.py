"""Results on the local disk: a key is a path below one folder.

Links are not followed and no name may leave the folder. A file appears under its key whole and
synced, or not at all.
"""

import asyncio
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from threading import Lock

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import NotFound, PayloadTooLarge, UploadFailed
from ourvidz_worker.storage import StorageSettings
from ourvidz_worker.storage.names import parts_of

MIN_FREE_BYTES = 64 * 1024 * 1024
"""Below this nothing new is promised: room for a batch of six pictures or a long clip."""


class LocalStorage:
    """Files below the settings' `root`, which is made when it is first needed."""

    def __init__(
        self, settings: StorageSettings, clock: Clock, *, min_free_bytes: int = MIN_FREE_BYTES
    ) -> None:
        """Remember the folder; nothing is touched yet, and no time is needed."""
        self._root = settings.root
        self._min_free_bytes = min_free_bytes
        self._writing = Lock()

    async def put(self, key: str, file: Path, media_type: str) -> None:
        """Store a copy of `file`; the media type follows from the key's extension here."""
        await asyncio.to_thread(self._put, key, file)

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """The bytes under `key`. Raises `NotFound`, and `PayloadTooLarge` above `max_bytes`."""
        return await asyncio.to_thread(self._get, key, max_bytes)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the keys, and the folders that this empties."""
        await asyncio.to_thread(self._delete, tuple(keys))

    async def check(self) -> None:
        """Raise `UploadFailed` when the disk is nearly full or the folder cannot be written."""
        await asyncio.to_thread(self._check)

    async def close(self) -> None:
        """Nothing is open."""

    def _put(self, key: str, file: Path) -> None:
        path = self._path(key)
        if path is None:
            raise UploadFailed(key=key)
        try:
            with self._writing:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _replace(file, path)
        except OSError as error:
            raise UploadFailed(key=key, cause=repr(error)) from error

    def _get(self, key: str, max_bytes: int | None) -> bytes:
        path = self._path(key)
        if path is None:
            raise NotFound
        try:
            if max_bytes is not None and path.stat().st_size > max_bytes:
                raise PayloadTooLarge("The stored file is larger than was asked for.")
            return path.read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise NotFound from error
        except OSError as error:
            raise UploadFailed(
                "The stored file could not be read; try again.", key=key, cause=repr(error)
            ) from error

    def _delete(self, keys: Sequence[str]) -> None:
        for key in keys:
            path = self._path(key)
            if path is None:
                raise UploadFailed("That name cannot be that of a result.", key=key)
            try:
                with self._writing:
                    self._remove(path)
            except OSError as error:
                raise UploadFailed(
                    "A stored file could not be removed; try again.", key=key, cause=repr(error)
                ) from error

    def _check(self) -> None:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            free = shutil.disk_usage(self._root).free
        except OSError as error:
            raise UploadFailed(cause=repr(error)) from error
        if free < self._min_free_bytes:
            raise UploadFailed("The disk is nearly full; make room for results.", free_bytes=free)
        if not os.access(self._root, os.W_OK | os.X_OK):
            raise UploadFailed("The folder of results cannot be written; correct its rights.")

    def _path(self, key: str) -> Path | None:
        """Where `key` lies, or None when it would leave the folder or pass a link."""
        parts = parts_of(key)
        if not parts:
            return None
        root = self._root.resolve()
        path = root.joinpath(*parts)
        return path if path.resolve() == path else None

    def _remove(self, path: Path) -> None:
        for file in (path, _unfinished(path)):
            if file.is_file():
                file.unlink()
        root = self._root.resolve()
        for folder in path.parents:
            if folder == root or not folder.is_dir() or any(folder.iterdir()):
                return
            folder.rmdir()


def _unfinished(path: Path) -> Path:
    """Where a file is written before it takes its name; the next try writes over it."""
    return path.with_name(f".{path.name}.part")


def _replace(source: Path, path: Path) -> None:
    part = _unfinished(path)
    part.unlink(missing_ok=True)
    with source.open("rb") as read, part.open("xb") as written:
        shutil.copyfileobj(read, written)
        written.flush()
        os.fsync(written.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
