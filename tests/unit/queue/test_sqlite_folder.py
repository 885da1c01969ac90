import os
from pathlib import Path

import pytest

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.queue.sqlite_folder import file_system, take_folder


def _mounts(tmp_path: Path, *lines: str) -> Path:
    mounts = tmp_path / "mounts"
    mounts.write_text("\n".join(("/dev/vda / ext4 rw 0 0", *lines)) + "\n")
    return mounts


def test_the_folder_is_made_for_its_owner_and_held_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    held = take_folder(folder)
    assert folder.stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="already in use"):
        take_folder(folder)
    os.close(held)
    os.close(take_folder(folder))


def test_a_network_file_system_is_refused_and_not_locked(tmp_path: Path) -> None:
    state = tmp_path / "a state"
    at = str(state).replace(" ", "\\040")
    mounts = _mounts(tmp_path, f"host:/export {at} nfs4 rw 0 0")
    with pytest.raises(ConfigError, match=r"network file system \(nfs4\)"):
        take_folder(state, mounts=mounts)
    os.close(take_folder(state))


def test_the_nearest_mount_decides(tmp_path: Path) -> None:
    inner = tmp_path / "share" / "disk" / "state"
    mounts = _mounts(
        tmp_path,
        f"host:/export {tmp_path}/share cifs rw 0 0",
        f"/dev/vdb {tmp_path}/share/disk xfs rw 0 0",
    )
    assert file_system(inner, mounts) == "xfs"
    assert file_system(tmp_path / "share" / "state", mounts) == "cifs"
    assert file_system(tmp_path / "sharedstate", mounts) == "ext4"


def test_a_machine_that_does_not_say_is_trusted(tmp_path: Path) -> None:
    assert file_system(tmp_path, tmp_path / "no such file") == ""
