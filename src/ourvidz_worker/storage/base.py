"""Storage: where results are kept, under the contract's keys (section 6)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class Storage(Protocol):
    """The port every store of files implements; its contract suite is `testing.check_storage`.

    A key is `bucket/path/of/file`. Errors are `UploadFailed`, `NotFound` and `PayloadTooLarge`;
    `UploadRefused`, a kind of `UploadFailed`, means that another try would end no better.
    """

    async def put(self, key: str, file: Path, media_type: str) -> None:
        """Store the file's bytes under `key`, replacing what is there; all or nothing."""
        ...

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """The bytes under `key`. Raises `NotFound`, and `PayloadTooLarge` above `max_bytes`."""
        ...

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the keys; one that is not there is no error."""
        ...

    async def check(self) -> None:
        """Raise `UploadFailed` when nothing could be stored now; cheap: asked each second."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
