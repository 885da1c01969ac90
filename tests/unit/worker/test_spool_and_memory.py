"""The spool is emptied and nothing beyond it; memory is told in bytes."""

import logging
from pathlib import Path

import pytest

from ourvidz_worker.worker.memory import peak_rss_bytes, rss_bytes
from ourvidz_worker.worker.spool import clear_spool


def test_everything_inside_goes_and_what_is_linked_to_stays(tmp_path: Path) -> None:
    spool, outside = tmp_path / "spool", tmp_path / "outside"
    (spool / "deep" / "er").mkdir(parents=True)
    outside.mkdir()
    (outside / "kept").write_text("x")
    (spool / "deep" / "er" / "file").write_text("x")
    (spool / "0.png").write_text("x")
    (spool / "link").symlink_to(outside, target_is_directory=True)
    (spool / "nowhere").symlink_to(tmp_path / "absent")
    clear_spool(spool)
    assert list(spool.iterdir()) == []
    assert (outside / "kept").exists()


def test_a_spool_that_is_gone_is_no_error_and_another_fault_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        clear_spool(tmp_path / "absent")
        assert caplog.records == []
        (tmp_path / "file").write_text("x")
        clear_spool(tmp_path / "file")
    assert [record.msg for record in caplog.records] == ["spool not cleared"]


def test_memory_is_told_in_bytes() -> None:
    assert 1_000_000 < rss_bytes() <= peak_rss_bytes() * 1.1
    assert peak_rss_bytes() < 1 << 40
