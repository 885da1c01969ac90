import errno
import os
from pathlib import Path

import pytest

from ourvidz_worker.domain.errors import NotFound, UploadFailed
from ourvidz_worker.storage import StorageSettings
from ourvidz_worker.storage.local import LocalStorage
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio

KEY = "workspace-temp/user-1/job-1/0.png"


def local(root: Path, *, min_free_bytes: int = 0) -> LocalStorage:
    settings = StorageSettings(root=root)
    return LocalStorage(settings, FakeClock(), min_free_bytes=min_free_bytes)


def _file(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return _file(tmp_path / "file.png", b"picture")


async def test_keys_are_paths_below_the_folder(tmp_path: Path, file: Path) -> None:
    await local(tmp_path / "storage").put(KEY, file, "image/png")
    assert (tmp_path / "storage" / KEY).read_bytes() == b"picture"
    assert len(list((tmp_path / "storage" / KEY).parent.iterdir())) == 1


async def test_deleting_takes_the_emptied_folders_along(tmp_path: Path, file: Path) -> None:
    storage = local(tmp_path / "storage")
    await storage.put(KEY, file, "image/png")
    await storage.put("workspace-temp/user-1/job-2/0.png", file, "image/png")
    await storage.delete([KEY])
    assert not (tmp_path / "storage/workspace-temp/user-1/job-1").exists()
    assert (tmp_path / "storage/workspace-temp/user-1/job-2/0.png").exists()
    await storage.delete(["workspace-temp/user-1/job-2/0.png"])
    assert list((tmp_path / "storage").iterdir()) == []


@pytest.mark.parametrize("link", ["workspace-temp", "workspace-temp/user-1", KEY])
async def test_links_are_not_followed(tmp_path: Path, file: Path, link: str) -> None:
    outside = tmp_path / "outside"
    theirs = outside / Path("0.png" if link == KEY else Path(KEY).relative_to(link))
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"not ours")
    planted = tmp_path / "storage" / link
    planted.parent.mkdir(parents=True)
    planted.symlink_to(theirs if link == KEY else outside)
    storage = local(tmp_path / "storage")
    with pytest.raises(UploadFailed):
        await storage.put(KEY, file, "image/png")
    with pytest.raises(NotFound):
        await storage.get(KEY)
    with pytest.raises(UploadFailed):
        await storage.delete([KEY])
    assert theirs.read_bytes() == b"not ours"


async def test_a_link_in_place_of_the_unfinished_file_is_not_followed(
    tmp_path: Path, file: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"not ours")
    folder = (tmp_path / "storage" / KEY).parent
    folder.mkdir(parents=True)
    (folder / ".0.png.part").symlink_to(victim)
    storage = local(tmp_path / "storage")
    await storage.put(KEY, file, "image/png")
    assert victim.read_bytes() == b"not ours"
    assert await storage.get(KEY) == b"picture"


async def test_the_folder_itself_may_be_a_link(tmp_path: Path, file: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "storage").symlink_to(tmp_path / "disk")
    await local(tmp_path / "storage").put(KEY, file, "image/png")
    assert (tmp_path / "disk" / KEY).read_bytes() == b"picture"


async def test_a_full_disk_leaves_the_old_file(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = local(tmp_path / "storage")
    await storage.put(KEY, file, "image/png")
    newer = _file(tmp_path / "newer.png", b"a newer picture")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as disk:
        disk.setattr(os, "fsync", full)
        with pytest.raises(UploadFailed) as failed:
            await storage.put(KEY, newer, "image/png")
    assert isinstance(failed.value.__cause__, OSError)
    assert await storage.get(KEY) == b"picture"
    await storage.put(KEY, newer, "image/png")
    assert await storage.get(KEY) == b"a newer picture"


async def test_what_a_crash_left_unfinished_goes_with_its_key(tmp_path: Path, file: Path) -> None:
    storage = local(tmp_path / "storage")
    await storage.put(KEY, file, "image/png")
    unfinished = (tmp_path / "storage" / KEY).with_name(".0.png.part")
    unfinished.write_bytes(b"pict")
    await storage.delete([KEY])
    assert list((tmp_path / "storage").iterdir()) == []


async def test_a_nearly_full_disk_is_told_in_advance(tmp_path: Path) -> None:
    await local(tmp_path / "storage", min_free_bytes=0).check()
    with pytest.raises(UploadFailed, match="nearly full"):
        await local(tmp_path / "storage", min_free_bytes=1 << 62).check()


async def test_a_folder_that_cannot_be_is_told_in_advance(tmp_path: Path, file: Path) -> None:
    storage = local(file / "storage")
    with pytest.raises(UploadFailed):
        await storage.check()
    with pytest.raises(UploadFailed):
        await storage.put(KEY, file, "image/png")
