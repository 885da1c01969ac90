"""Artifacts: metadata is measured on the file, in the contract's words (7.2)."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ourvidz_worker.domain.errors import AttemptError
from ourvidz_worker.engines.encode import (
    Pixels,
    keep_clip,
    keep_picture,
    measure_picture,
    measure_text,
)


@pytest.fixture
def pixels() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)


@pytest.fixture
def frames() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (9, 40, 60, 3), dtype=np.uint8)


def block_thumbnail(spool: Path) -> None:
    """Make the thumbnail's file impossible to write."""
    (spool / "0.thumb.webp").symlink_to(spool / "absent" / "0.thumb.webp")


def test_a_picture_is_kept_with_its_measures(pixels: Pixels, tmp_path: Path) -> None:
    kept = keep_picture(tmp_path, 2, pixels, {"seed": 7, "width": 1, "format": "asked"})
    file = tmp_path / "2.png"
    artifact = kept.artifact
    assert (artifact.file, artifact.thumbnail) == ("2.png", "2.thumb.webp")
    assert (artifact.media, artifact.media_type) == ("image", "image/png")
    assert artifact.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert artifact.size_bytes == file.stat().st_size
    assert artifact.metadata == {
        "seed": 7,
        "width": 60,
        "height": 40,
        "format": "png",
        "file_size_bytes": file.stat().st_size,
        "asset_index": 2,
    }
    assert kept.warnings == ()


def test_a_clip_is_kept_with_its_measures(frames: Pixels, tmp_path: Path) -> None:
    kept = keep_clip(tmp_path, 0, frames, {"seed": 7, "frame_num": 83})
    artifact = kept.artifact
    assert (artifact.file, artifact.thumbnail) == ("0.mp4", "0.thumb.webp")
    assert (artifact.media, artifact.media_type) == ("video", "video/mp4")
    assert artifact.metadata == {
        "seed": 7,
        "width": 60,
        "height": 40,
        "format": "mp4",
        "frame_num": 9,
        "fps": 16,
        "duration_seconds": 0.5625,
        "codec": "h264",
        "file_size_bytes": (tmp_path / "0.mp4").stat().st_size,
        "asset_index": 0,
    }


def test_the_thumbnail_of_a_clip_shows_its_middle(tmp_path: Path) -> None:
    frames = np.zeros((5, 40, 60, 3), np.uint8)
    frames[2] = (200, 40, 90)
    keep_clip(tmp_path, 0, frames, {})
    with Image.open(tmp_path / "0.thumb.webp") as small:
        found = np.asarray(small.convert("RGB")).astype(int)
    assert abs(found - (200, 40, 90)).max() <= 8


def test_a_thumbnail_that_fails_is_a_warning(
    pixels: Pixels, frames: Pixels, tmp_path: Path
) -> None:
    block_thumbnail(tmp_path)
    picture = keep_picture(tmp_path, 0, pixels, {})
    assert picture.artifact.thumbnail is None
    assert picture.warnings == ("THUMBNAIL_GENERATION_ERROR",)
    block_thumbnail(tmp_path)
    film = keep_clip(tmp_path, 0, frames, {})
    assert (film.artifact.thumbnail, film.warnings) == (None, ("THUMBNAIL_GENERATION_ERROR",))


def test_a_damaged_picture_is_no_artifact(pixels: Pixels, tmp_path: Path) -> None:
    keep_picture(tmp_path, 0, pixels, {})
    file = tmp_path / "0.png"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 255
    file.write_bytes(data)
    with pytest.raises(AttemptError):
        measure_picture(file, 0, thumbnail=None, facts={})


def test_a_text_is_an_artifact_without_a_file() -> None:
    artifact = measure_text(0, "Grüße", {"tokens_generated": 1})
    assert (artifact.file, artifact.text, artifact.size_bytes) == (None, "Grüße", 7)
    assert artifact.sha256 == hashlib.sha256("Grüße".encode()).hexdigest()
    assert artifact.metadata == {"tokens_generated": 1, "asset_index": 0}
