import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ourvidz_worker.testing.redis_server import RedisServer

CALLS = 30
"""Before and after each of the fifteen calls of the life in `crash_queue`."""

MODULE = ("-m", "ourvidz_worker.testing.crash_queue")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


def _crash(*command: str) -> int:
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def _every_database(server: RedisServer) -> str:
    return server.url().removesuffix("0") + "{}"


def test_nothing_is_lost_when_killed_around_any_call(server: RedisServer, tmp_path: Path) -> None:
    assert _crash(*MODULE, "redis", str(tmp_path), _every_database(server)) == CALLS


def test_nothing_is_lost_when_killed_around_any_step(server: RedisServer, tmp_path: Path) -> None:
    script = Path(__file__).with_name("crash_steps.py")
    assert _crash(str(script), str(tmp_path), _every_database(server)) > 2 * CALLS
