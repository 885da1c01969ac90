import subprocess
import sys
from pathlib import Path

CALLS = 30
"""Before and after each of the fifteen calls of the life in `crash_queue`."""


def _crash(tmp_path: Path, *command: str) -> int:
    done = subprocess.run(
        [sys.executable, "-W", "error", *command, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_nothing_is_lost_when_killed_around_any_call(tmp_path: Path) -> None:
    assert _crash(tmp_path, "-m", "ourvidz_worker.testing.crash_queue", "sqlite") == CALLS


def test_nothing_is_lost_when_killed_before_any_statement(tmp_path: Path) -> None:
    script = Path(__file__).with_name("crash_statements.py")
    assert _crash(tmp_path, str(script)) > 3 * CALLS
