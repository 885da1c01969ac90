"""The demo, start to end, on the fake engine: what it prints and what it leaves."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e

DEMO = Path(__file__).resolve().parents[2] / "tools" / "demo.py"


def test_the_demo_shows_an_answer_three_pictures_and_a_clip(tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, str(DEMO), "--engine", "fake", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    pictures = [f"apples-{index}{end}" for index in range(3) for end in (".png", ".thumb.webp")]
    expected = {"answer-0.txt", "clip-0.mp4", "clip-0.thumb.webp", *pictures}
    assert expected <= {file.name for file in out.iterdir()}
    assert all(str(out / name) in done.stdout for name in expected)
    assert (out / "answer-0.txt").read_text() in done.stdout
    assert "apples\tdenoise\t" in done.stdout
    assert "exit code 0" in done.stdout
