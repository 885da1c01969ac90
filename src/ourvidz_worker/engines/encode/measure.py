"""Artifacts: files written into a spool directory, and what was measured on them (7.2)."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ourvidz_worker.domain.artifact import Artifact, Metadata
from ourvidz_worker.domain.errors import AttemptError, ThumbnailFailed
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.engines.encode.mp4 import VideoFacts, verify_mp4, write_mp4
from ourvidz_worker.engines.encode.pixels import CLIP, Pixels, checked
from ourvidz_worker.engines.encode.png import write_png
from ourvidz_worker.engines.encode.webp import write_thumbnail


@dataclass(frozen=True, kw_only=True)
class Kept:
    """One artifact, and the contract's codes of what went wrong beside it."""

    artifact: Artifact
    warnings: tuple[str, ...] = ()


def keep_picture(spool: Path, index: int, pixels: Pixels, facts: Metadata) -> Kept:
    """Write one picture (height × width × 3) and its thumbnail; measure what was written.

    `facts` join the metadata; what was measured wins. Raises `AttemptError`; a thumbnail that
    cannot be made is a warning.
    """
    file = spool / f"{index}.png"
    write_png(file, pixels)
    thumbnail, warnings = _thumbnail(spool, index, pixels)
    artifact = measure_picture(file, index, thumbnail=thumbnail, facts=facts)
    return Kept(artifact=artifact, warnings=warnings)


def keep_clip(spool: Path, index: int, frames: Pixels, facts: Metadata) -> Kept:
    """Write a clip (time × height × width × 3), decode it once, and take its thumbnail from that.

    Raises `AttemptError` when the decoded clip is not what was written (V-4).
    """
    file = spool / f"{index}.mp4"
    write_mp4(file, frames)
    count, height, width, _ = checked(frames, CLIP).shape
    found = verify_mp4(file, expected=(count, width, height))
    thumbnail, warnings = _thumbnail(spool, index, found.middle_frame)
    artifact = measure_clip(file, index, found, thumbnail=thumbnail, facts=facts)
    return Kept(artifact=artifact, warnings=warnings)


def measure_picture(file: Path, index: int, *, thumbnail: str | None, facts: Metadata) -> Artifact:
    """A written PNG as an artifact. Raises `AttemptError` when it is damaged."""
    try:
        with Image.open(file, formats=["PNG"]) as picture:
            width, height = picture.size
            picture.verify()
    except (OSError, SyntaxError) as error:
        raise AttemptError(cause=repr(error)) from error
    measured: Metadata = {"width": width, "height": height, "format": "png"}
    return _artifact(file, index, Media.IMAGE, "image/png", thumbnail, facts | measured)


def measure_clip(
    file: Path, index: int, found: VideoFacts, *, thumbnail: str | None, facts: Metadata
) -> Artifact:
    """A verified clip as an artifact."""
    measured: Metadata = {
        "width": found.width,
        "height": found.height,
        "format": "mp4",
        "frame_num": found.frames,
        "fps": found.fps,
        "duration_seconds": found.duration_s,
        "codec": found.codec,
    }
    return _artifact(file, index, Media.VIDEO, "video/mp4", thumbnail, facts | measured)


def measure_text(index: int, text: str, facts: Metadata) -> Artifact:
    """A text as an artifact; it has no file (J-1)."""
    data = text.encode()
    return Artifact(
        index=index,
        media=Media.TEXT,
        text=text,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        metadata=facts | {"asset_index": index},
    )


def _thumbnail(spool: Path, index: int, pixels: Pixels) -> tuple[str | None, tuple[str, ...]]:
    """The thumbnail's name, or None and the warning (U-2)."""
    name = f"{index}.thumb.webp"
    try:
        write_thumbnail(spool / name, pixels)
    except ThumbnailFailed as error:
        (spool / name).unlink(missing_ok=True)
        return None, (error.code,)
    return name, ()


def _artifact(
    file: Path, index: int, media: Media, media_type: str, thumbnail: str | None, facts: Metadata
) -> Artifact:
    with file.open("rb") as produced:
        digest = hashlib.file_digest(produced, "sha256").hexdigest()
    size = file.stat().st_size
    return Artifact(
        index=index,
        media=media,
        file=file.name,
        media_type=media_type,
        thumbnail=thumbnail,
        size_bytes=size,
        sha256=digest,
        metadata=facts | {"file_size_bytes": size, "asset_index": index},
    )
