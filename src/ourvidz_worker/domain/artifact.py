"""Artifacts (files produced) and assets (artifacts stored)."""

from typing import Any

import msgspec

from ourvidz_worker.domain.job_types import Media

Metadata = dict[str, str | int | float | bool | None]
"""Flat facts measured on a file, in the contract's words (7.2)."""


Facts = dict[str, Any]
"""A job's metadata (7.3): JSON values, flat but for a few lists."""


class Artifact(msgspec.Struct, frozen=True, kw_only=True):
    """One main file in an attempt's spool directory, or one text.

    `file` and `thumbnail` are names inside that directory. A text artifact has `text` and no file.
    """

    index: int
    media: Media
    file: str | None = None
    media_type: str | None = None
    thumbnail: str | None = None
    text: str | None = None
    size_bytes: int = 0
    sha256: str = ""
    metadata: Metadata = {}


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One stored artifact. `key` and `thumbnail_key` lie within the bucket (contract 6)."""

    index: int
    media: Media
    key: str | None = None
    thumbnail_key: str | None = None
    media_type: str | None = None
    text: str | None = None
    size_bytes: int = 0
    sha256: str = ""
    metadata: Metadata = {}


BUCKET = "workspace-temp"
"""The bucket of all results (contract 6)."""

EXTENSIONS = {"image/png": "png", "video/mp4": "mp4"}
"""Main files are only these two (U-1)."""


def asset_key(user_id: str, job_id: str, index: int, media_type: str) -> str:
    """Where main file `index` of a job is stored, within the bucket."""
    return f"{user_id}/{job_id}/{index}.{EXTENSIONS[media_type]}"


def thumbnail_key(user_id: str, job_id: str, index: int) -> str:
    """Where the thumbnail of file `index` is stored, within the bucket."""
    return f"{user_id}/{job_id}/{index}.thumb.webp"
