"""Results in the application's Supabase: one object a file, replaced by a second upload (U-1)."""

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

import httpx

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.artifact import BUCKET
from ourvidz_worker.domain.errors import (
    NotFound,
    PayloadTooLarge,
    Unavailable,
    UploadFailed,
    UploadRefused,
)
from ourvidz_worker.storage import StorageSettings
from ourvidz_worker.storage.names import parts_of
from ourvidz_worker.supabase.client import TRY_AGAIN, Ask, Reply, SupabaseClient
from ourvidz_worker.telemetry.log import Action

log = logging.getLogger(__name__)

OBJECT = "/storage/v1/object"
STORED = frozenset({200, 201})
ABSENT = frozenset({400, 404, 410})

IMAGE_S = 60.0
VIDEO_S = 180.0
"""Time-outs of one upload (U-1)."""

LOOK_S = 2.0
"""A look at the bucket; longer would let the health snapshot grow old (H-10)."""

FRESH_S = 30.0
FRESH_FAILURE_S = 5.0
"""How long the verdict of a look is repeated without another one."""

PIECE_BYTES = 262_144
MAX_BYTES = 1 << 30
"""Read into memory by one `get` at most."""


class SupabaseStorage:
    """Objects of the application's buckets, written and read with its service key."""

    def __init__(
        self,
        settings: StorageSettings,
        clock: Clock,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Nothing is asked yet. Raises `ConfigError` for a wrong URL."""
        self._client = SupabaseClient(settings.url, settings.key, clock, transport=transport)
        self._clock = clock
        self._looked_at: float | None = None
        self._fault: str | None = None

    async def put(self, key: str, file: Path, media_type: str) -> None:
        """Upload the file once, streamed. Raises `UploadFailed`, `UploadRefused`."""
        ask = Ask(
            method="POST",
            path=_path(key),
            within_s=VIDEO_S if media_type.startswith("video/") else IMAGE_S,
            content=_pieces(file),
            headers={
                "Content-Type": media_type,
                "Content-Length": str(await asyncio.to_thread(_size, file)),
                "x-upsert": "true",
            },
        )
        try:
            reply = await self._send(ask)
        except OSError as error:
            raise UploadRefused(cause=repr(error)) from error
        if reply.status not in STORED:
            raise _failure(reply)

    async def get(self, key: str, *, max_bytes: int | None = None) -> bytes:
        """The object's bytes. Raises `NotFound`, `PayloadTooLarge`, `UploadFailed`."""
        if not parts_of(key):
            raise NotFound
        limit = MAX_BYTES if max_bytes is None else max_bytes
        ask = Ask(method="GET", path=_path(key), within_s=IMAGE_S, max_bytes=limit)
        reply = await self._send(ask)
        if reply.status in STORED:
            if not reply.whole:
                raise PayloadTooLarge("The stored file is larger than was asked for.")
            return reply.body
        if reply.true_status in ABSENT:
            raise NotFound
        raise _failure(reply)

    async def delete(self, keys: Sequence[str]) -> None:
        """Remove the objects, one call a bucket. Raises `UploadFailed`."""
        for bucket, names in _by_bucket(keys).items():
            ask = Ask(
                method="DELETE",
                path=f"{OBJECT}/{quote(bucket)}",
                within_s=IMAGE_S,
                json={"prefixes": names},
            )
            reply = await self._send(ask)
            if not reply.is_success:
                raise _failure(reply)

    async def check(self) -> None:
        """Raise `UploadFailed` while the bucket of results cannot be read; looks now and then."""
        now = self._clock.monotonic()
        fresh_s = FRESH_S if self._fault is None else FRESH_FAILURE_S
        if self._looked_at is None or now - self._looked_at >= fresh_s:
            self._looked_at = now
            self._note(await self._look())
        if self._fault is not None:
            raise UploadFailed("The storage of results cannot be reached.", cause=self._fault)

    async def close(self) -> None:
        """Close every connection."""
        await self._client.close()

    async def _send(self, ask: Ask) -> Reply:
        try:
            return await self._client.send(ask)
        except Unavailable as error:
            raise UploadFailed(cause=error.facts.get("cause")) from error

    async def _look(self) -> str | None:
        """What is wrong with the bucket, in a word for the log."""
        ask = Ask(method="GET", path=f"/storage/v1/bucket/{BUCKET}", within_s=LOOK_S)
        try:
            reply = await self._client.send(ask)
        except Unavailable as error:
            return str(error.facts.get("cause"))
        return None if reply.is_success else f"status {reply.true_status}"

    def _note(self, fault: str | None) -> None:
        if fault is not None and fault != self._fault:
            log.warning(
                "storage cannot be reached",
                extra={"action": Action.STORAGE_UNAVAILABLE, "cause": fault},
            )
        self._fault = fault


def _path(key: str) -> str:
    """The address of an object, quoted. Raises `UploadRefused` for a name of no result."""
    parts = parts_of(key)
    if not parts:
        raise UploadRefused("That name cannot be that of a result.")
    return "/".join([OBJECT, *(quote(part, safe="") for part in parts)])


def _by_bucket(keys: Sequence[str]) -> Mapping[str, list[str]]:
    names: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        bucket, *path = parts_of(key) or ("",)
        if not path:
            raise UploadRefused("That name cannot be that of a result.")
        names[bucket].append("/".join(path))
    return names


def _size(file: Path) -> int:
    """The file's size in bytes. Raises `UploadRefused` where there is no file."""
    try:
        return file.stat().st_size
    except OSError as error:
        raise UploadRefused(cause=repr(error)) from error


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    opened = await asyncio.to_thread(file.open, "rb")
    try:
        while piece := await asyncio.to_thread(opened.read, PIECE_BYTES):
            yield piece
    finally:
        opened.close()


def _failure(reply: Reply) -> UploadFailed:
    """The error of a refusal; only some of them may pass by themselves."""
    kind = UploadFailed if reply.true_status in TRY_AGAIN else UploadRefused
    return kind(status=reply.status, true_status=reply.true_status)
