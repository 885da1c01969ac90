"""Reference pictures: from what a job names to a checked file in an attempt's spool directory."""

import asyncio
import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

from ourvidz_worker.domain.errors import BadReference
from ourvidz_worker.domain.ids import is_id
from ourvidz_worker.references.check import Picture, check_picture
from ourvidz_worker.references.keys import is_key, read_key, read_signed
from ourvidz_worker.references.stored import Patience, StoredPictures

AT_ONCE = 2
"""Pictures decoded at a time: one of 64 MP takes 256 MB."""

EXPIRED = "REFERENCE_EXPIRED"
KEPT_IN = "reference_images"

EXTENSIONS = {"image/png": "png", "image/jpeg": "jpg", "image/webp": "webp"}


class Store(Protocol):
    """Where references lie and are kept; a key is `bucket/path`."""

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """The bytes under `key`. Raises `NotFound`, and `PayloadTooLarge` above `max_bytes`."""
        ...

    async def put(self, key: str, file: Path, media_type: str) -> None:
        """Store the file's bytes under `key`, replacing what is there."""
        ...


class FetchUrl(Protocol):
    """Fetches pictures from other machines, under guard."""

    async def fetch(self, url: str) -> bytes:
        """The bytes behind `url`. Raises `BadReference`."""
        ...

    def signed_path(self, url: str) -> str | None:
        """The path of a signed URL of our own storage, else None. Raises `BadReference`."""
        ...


class References:
    """Fetches, checks and keeps reference pictures."""

    def __init__(
        self,
        store: Store,
        *,
        max_bytes: int,
        urls: FetchUrl | None = None,
        require_owner: bool = True,
        patience: Patience | None = None,
    ) -> None:
        """Without `urls` a reference can only be a storage key; a URL is then refused.

        `patience` is how a store that is away is asked again; without it, it is asked once.
        """
        self._store = store
        self._stored = StoredPictures(store, max_bytes=max_bytes, patience=patience)
        self._max_bytes = max_bytes
        self._urls = urls
        self._require_owner = require_owner
        self._decoding = asyncio.Semaphore(AT_ONCE)

    async def fetch(self, reference: str, user_id: str, file: Path) -> None:
        """Write the checked bytes of `reference` to `file`. Raises `BadReference`."""
        data = await self._read(reference, user_id)
        await self._check(data, file)

    async def keep(self, user_id: str, data: bytes) -> str:
        """Check and store a picture; return the key that a job of this user may name.

        Raises `BadReference`, `UploadFailed`, and `BadReference` with `REFERENCE_FORBIDDEN` for a
        name that cannot be a user's.
        """
        if not is_id(user_id):
            raise BadReference(reason="REFERENCE_FORBIDDEN", field="user_id")
        with TemporaryDirectory(prefix="ourvidz-reference-") as folder:
            file = Path(folder) / "picture"
            picture = await self._check(data, file)
            name = f"{hashlib.sha256(data).hexdigest()}.{EXTENSIONS[picture.media_type]}"
            key = f"{KEPT_IN}/{user_id}/{name}"
            await self._store.put(key, file, picture.media_type)
        return key

    async def _read(self, reference: str, user_id: str) -> bytes:
        if is_key(reference):
            key = read_key(reference, user_id, require_owner=self._require_owner)
            return await self._stored.read(key)
        if self._urls is None:
            raise BadReference(reason="REFERENCE_URL_BLOCKED")
        path = self._urls.signed_path(reference)
        try:
            return await self._urls.fetch(reference)
        except BadReference as error:
            if path is None or error.reason != EXPIRED:
                raise
        return await self._read_expired(path, user_id)

    async def _read_expired(self, path: str, user_id: str) -> bytes:
        """What a signed URL of ours no longer gives: read by its key, for its owner alone (R-3)."""
        key = read_signed(path, user_id, require_owner=self._require_owner)
        return await self._stored.read(key)

    async def _check(self, data: bytes, file: Path) -> Picture:
        async with self._decoding:
            return await asyncio.to_thread(_check_and_write, data, file, self._max_bytes)


def _check_and_write(data: bytes, file: Path, max_bytes: int) -> Picture:
    picture = check_picture(data, max_bytes=max_bytes)
    file.write_bytes(data)
    return picture
