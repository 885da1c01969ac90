"""Downloads the picture and word packages, checks their digests and unpacks them.

The versions and digests are pinned in ``PACKAGES``. The package manager's own configuration says
where packages come from. What the pictures mean and look like is ``sprites``' concern.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

DEFAULT_CACHE = Path(".cache/pocket")
PACK_TIMEOUT_S = 1800
_CHUNK_BYTES = 1 << 20


class DigestMismatch(Exception):
    """A downloaded package is not the one that was pinned; delete it and look at its origin."""


@dataclass(frozen=True, kw_only=True)
class Package:
    """One pinned npm package."""

    key: str
    name: str
    version: str
    sha256: str
    licence: str

    @property
    def file_name(self) -> str:
        """The name that ``npm pack`` gives the archive."""
        return f"{self.name.lstrip('@').replace('/', '-')}-{self.version}.tgz"


PACKAGES: tuple[Package, ...] = (
    Package(
        key="fluent-3d",
        name="@lobehub/fluent-emoji-3d",
        version="1.1.0",
        sha256="c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58",
        licence="MIT (Microsoft Fluent Emoji)",
    ),
    Package(
        key="emojilib",
        name="emojilib",
        version="4.0.3",
        sha256="7f9a6b43cff31d18985b7d65d11faba5bd971cbcc60020cf6d09322fbaaaf303",
        licence="MIT",
    ),
    Package(
        key="emojibase",
        name="emojibase-data",
        version="17.0.0",
        sha256="d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
        licence="MIT",
    ),
    Package(
        key="fluent-anim-1",
        name="@lobehub/fluent-emoji-anim-1",
        version="1.0.0",
        sha256="4c03ac178c1eabf2e2a16dd498f3cc2b92dc30ec3466ae38fdc497d4774c99ea",
        licence="MIT (Microsoft Fluent Emoji)",
    ),
    Package(
        key="fluent-anim-2",
        name="@lobehub/fluent-emoji-anim-2",
        version="1.0.0",
        sha256="e431da8172e394036c330faa77648d6fbbae1fd3b0be95637c4497c9075019c0",
        licence="MIT (Microsoft Fluent Emoji)",
    ),
    Package(
        key="fluent-anim-3",
        name="@lobehub/fluent-emoji-anim-3",
        version="1.0.0",
        sha256="3624d0c34c819c1794b74ccf6ae9034adff7c4cb6318dd2a645145f0196feb43",
        licence="MIT (Microsoft Fluent Emoji)",
    ),
    Package(
        key="fluent-anim-4",
        name="@lobehub/fluent-emoji-anim-4",
        version="1.0.0",
        sha256="3d4c08f1e321f70808ef4996aba0ab575a9d97b6c56ffffc92cf6161a7836aa3",
        licence="MIT (Microsoft Fluent Emoji)",
    ),
)
STILL_KEYS = ("fluent-3d", "emojilib", "emojibase")
MOVING_KEYS = ("fluent-anim-1", "fluent-anim-2", "fluent-anim-3", "fluent-anim-4")


def fetch(keys: tuple[str, ...] = STILL_KEYS, cache: Path = DEFAULT_CACHE) -> dict[str, Path]:
    """Make the named packages available and return the unpacked folder of each.

    Downloads only what is missing. Raises `DigestMismatch` when an archive differs from its pin.
    """
    cache.mkdir(parents=True, exist_ok=True)
    chosen = {package.key: package for package in PACKAGES if package.key in keys}
    missing = set(keys) - set(chosen)
    if missing:
        raise KeyError(f"unknown packages: {sorted(missing)}")
    return {key: _make_available(package, cache.resolve()) for key, package in chosen.items()}


def _make_available(package: Package, cache: Path) -> Path:
    archive = cache / package.file_name
    if not archive.exists():
        subprocess.run(
            ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
            cwd=cache,
            check=True,
            timeout=PACK_TIMEOUT_S,
            stdout=subprocess.DEVNULL,
        )
    digest = sha256_of(archive)
    if digest != package.sha256:
        raise DigestMismatch(f"{archive} has sha256 {digest}, pinned is {package.sha256}")
    folder = cache / "unpacked" / archive.stem
    if not folder.exists():
        partial = folder.with_suffix(".partial")
        with tarfile.open(archive) as tar:
            tar.extractall(partial, filter="data")
        partial.rename(folder)
    return folder / "package"


def sha256_of(path: Path) -> str:
    """Return the hexadecimal SHA-256 digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
