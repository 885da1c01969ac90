"""The state folder of the embedded queue: taken by one pod at a time, on a local disk."""

import fcntl
import os
from pathlib import Path

from ourvidz_worker.domain.errors import ConfigError

MOUNTS = Path("/proc/self/mounts")

NETWORK_TYPES = frozenset(
    {
        "afs",
        "ceph",
        "cifs",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.juicefs",
        "fuse.mfs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
        "glusterfs",
        "lustre",
        "nfs",
        "nfs4",
        "smb3",
        "smbfs",
    }
)
"""File systems whose shared memory or locks SQLite's write-ahead log cannot rely on."""


def take_folder(folder: Path, *, mounts: Path = MOUNTS) -> int:
    """Make the folder if need be and lock it; return the descriptor that holds the lock.

    Closing the descriptor, or the end of the process, gives it back. Raises `ConfigError` when the
    folder cannot be written, lies on a network file system, or is in use by another pod.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise ConfigError(
            f"STATE_DIR {folder} cannot be used as a folder: {error.strerror}", field="state_dir"
        ) from error
    try:
        _refuse_network(folder, mounts)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(held)
        raise ConfigError(
            f"STATE_DIR {folder} is already in use by another pod; stop it or choose another",
            field="state_dir",
        ) from error
    except BaseException:
        os.close(held)
        raise
    return held


def file_system(folder: Path, mounts: Path = MOUNTS) -> str:
    """The type of the file system that holds `folder`; empty where the machine does not say."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    resolved = folder.resolve()
    found, longest = "", -1
    for fields in map(str.split, lines):
        at = Path(_plain(fields[1]))
        if (resolved == at or at in resolved.parents) and len(at.parts) >= longest:
            found, longest = fields[2], len(at.parts)
    return found


def _refuse_network(folder: Path, mounts: Path) -> None:
    kind = file_system(folder, mounts)
    if kind in NETWORK_TYPES:
        raise ConfigError(
            f"STATE_DIR {folder} lies on a network file system ({kind}); choose a local disk",
            field="state_dir",
        )


def _plain(mount: str) -> str:
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        mount = mount.replace(code, character)
    return mount
