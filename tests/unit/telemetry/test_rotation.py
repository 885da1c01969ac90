"""Rotation keeps a process writing to the live file (O-8)."""

import asyncio
from pathlib import Path

import pytest

from ourvidz_worker.telemetry.rotation import LOOK_EVERY_S, LogRotation
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


def rotation(folder: Path, clock: FakeClock | None = None) -> LogRotation:
    clock = clock or FakeClock()
    return LogRotation(folder=folder, sleep=clock.sleep, max_bytes=100, kept=2)


def test_who_has_the_file_open_goes_on_in_the_live_one(tmp_path: Path) -> None:
    """O-8: copied and emptied, never moved away under its writer."""
    file = tmp_path / "worker-image.log"
    with file.open("ab", buffering=0) as writer:
        for round_ in range(4):
            writer.write(bytes([ord("a") + round_]) * 101)
            rotation(tmp_path).rotate()
            assert file.read_bytes() == b""
        writer.write(b"live")
        assert file.read_bytes() == b"live"
    assert (tmp_path / "worker-image.log.1").read_bytes() == b"d" * 101
    assert (tmp_path / "worker-image.log.2").read_bytes() == b"c" * 101
    assert sorted(one.name for one in tmp_path.iterdir()) == [
        "worker-image.log",
        "worker-image.log.1",
        "worker-image.log.2",
    ]


def test_a_short_file_stays_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "worker-chat.log"
    file.write_bytes(b"x" * 100)
    rotation(tmp_path).rotate()
    assert file.read_bytes() == b"x" * 100


async def test_the_folder_is_looked_at_again_and_again(tmp_path: Path) -> None:
    clock = FakeClock()
    task = asyncio.create_task(rotation(tmp_path, clock).run())
    await clock.advance(0)
    file = tmp_path / "worker-video.log"
    file.write_bytes(b"x" * 101)
    await clock.advance(LOOK_EVERY_S)
    assert file.read_bytes() == b""
    task.cancel()
