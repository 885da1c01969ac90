"""What every storage promises: `PROMISES`, each a check to run on a fresh one.

A check takes a storage and a folder of its own for source files, and raises `AssertionError`
where a promise is broken.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from ourvidz_worker.domain.errors import NotFound, UploadFailed
from ourvidz_worker.storage import Storage

Promise = Callable[[Storage, Path], Awaitable[None]]

KEY = "workspace-temp/user-1/job-1/0.png"
NEIGHBOUR = "workspace-temp/user-1/job-1/0.thumb.webp"

HOSTILE_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "../outside.png",
    "workspace-temp/../../outside.png",
    "workspace-temp/user-1/..",
    "workspace-temp/./0.png",
    "workspace-temp//0.png",
    "workspace-temp/user-1/",
    "workspace-temp/user-1/.hidden",
    "workspace-temp/user-1/a\\..\\b.png",
    "workspace-temp/user-1/line\nbreak.png",
    "workspace-temp/user-1/nul\0.png",
    "workspace-temp/user-1/\x7f.png",
    "workspace-temp/user-1/" + "x" * 300 + ".png",
)


async def stores_and_reads(storage: Storage, folder: Path) -> None:
    """What was put is read back byte for byte, and the source stays as it was."""
    file = _file(folder, bytes(range(256)) * 5000)
    await storage.put(KEY, file, "image/png")
    assert await storage.get(KEY) == bytes(range(256)) * 5000
    assert file.read_bytes() == bytes(range(256)) * 5000


async def replaces(storage: Storage, folder: Path) -> None:
    """A second put under the same key replaces the first, also by something shorter (upsert)."""
    await storage.put(KEY, _file(folder, b"a long first version"), "image/png")
    await storage.put(KEY, _file(folder, b"short"), "image/png")
    assert await storage.get(KEY) == b"short"


async def keeps_the_source_apart(storage: Storage, folder: Path) -> None:
    """What is stored does not change with the file it came from."""
    file = _file(folder, b"stored")
    await storage.put(KEY, file, "image/png")
    file.write_bytes(b"changed")
    assert await storage.get(KEY) == b"stored"


async def is_empty_at_first(storage: Storage, folder: Path) -> None:
    """A key that was never put, or names a folder, is not found."""
    await _expect(NotFound, storage.get(KEY))
    await storage.put(KEY, _file(folder, b"x"), "image/png")
    await _expect(NotFound, storage.get("workspace-temp/user-1/job-1"))
    await _expect(NotFound, storage.get(KEY + "/deeper"))


async def stores_nothing_by_halves(storage: Storage, folder: Path) -> None:
    """A put that fails changes nothing."""
    await storage.put(KEY, _file(folder, b"good"), "image/png")
    await _expect(UploadFailed, storage.put(KEY, folder / "missing.png", "image/png"))
    assert await storage.get(KEY) == b"good"
    await _expect(UploadFailed, storage.put(NEIGHBOUR, folder / "missing.png", "image/webp"))
    await _expect(NotFound, storage.get(NEIGHBOUR))


async def deletes(storage: Storage, folder: Path) -> None:
    """Deleted keys are gone, others stay, and one that is not there is no error."""
    await storage.put(KEY, _file(folder, b"1"), "image/png")
    await storage.put(NEIGHBOUR, _file(folder, b"2"), "image/webp")
    await storage.delete([KEY, "workspace-temp/user-2/none/0.png"])
    await _expect(NotFound, storage.get(KEY))
    assert await storage.get(NEIGHBOUR) == b"2"
    await storage.delete([KEY, NEIGHBOUR])
    await _expect(NotFound, storage.get(NEIGHBOUR))
    await storage.put(KEY, _file(folder, b"again"), "image/png")
    assert await storage.get(KEY) == b"again"


async def refuses_hostile_keys(storage: Storage, folder: Path) -> None:
    """No key leads out of the store or to a name that is not a result's."""
    file = _file(folder, b"hostile")
    before = _seen(folder.parent)
    for key in HOSTILE_KEYS:
        await _expect(UploadFailed, storage.put(key, file, "image/png"))
        await _expect(NotFound, storage.get(key))
        await _expect(UploadFailed, storage.delete([key]))
    assert _seen(folder.parent) == before


async def works_side_by_side(storage: Storage, folder: Path) -> None:
    """Many puts and deletes at once do not disturb each other."""
    files = [_file(folder, str(index).encode(), f"{index}.png") for index in range(12)]
    keys = [f"workspace-temp/user-1/job-{index}/0.png" for index in range(12)]
    both = list(zip(keys, files, strict=True))
    await asyncio.gather(*(storage.put(key, file, "image/png") for key, file in both))
    removals = (storage.delete([key]) for key in keys[:6])
    renewals = (storage.put(key, file, "image/png") for key, file in both[6:])
    await asyncio.gather(*removals, *renewals)
    kept = await asyncio.gather(*(storage.get(key) for key in keys[6:]))
    assert kept == [str(index).encode() for index in range(6, 12)]
    for key in keys[:6]:
        await _expect(NotFound, storage.get(key))


async def says_when_it_can_store(storage: Storage, folder: Path) -> None:
    """With room and rights the check passes, before and after the first result."""
    await storage.check()
    await storage.put(KEY, _file(folder, b"x"), "image/png")
    await storage.check()
    assert await storage.get(KEY) == b"x"


PROMISES: tuple[Promise, ...] = (
    stores_and_reads,
    replaces,
    keeps_the_source_apart,
    is_empty_at_first,
    stores_nothing_by_halves,
    deletes,
    refuses_hostile_keys,
    works_side_by_side,
    says_when_it_can_store,
)


async def _expect(error: type[Exception], work: Awaitable[object]) -> None:
    try:
        await work
    except error:
        return
    raise AssertionError(f"{error.__name__} was not raised")


def _file(folder: Path, content: bytes, name: str = "source.png") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(content)
    return file


def _seen(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))
