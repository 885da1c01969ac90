"""Every registered queue keeps the promises of the port."""

from functools import partial
from pathlib import Path

import pytest

from ourvidz_worker.queue import QUEUES, make_queue
from ourvidz_worker.testing.check_queue import run_machine
from ourvidz_worker.testing.queue_bench import Bench
from ourvidz_worker.testing.queue_promises import PROMISES, Promise

MEMORY = Path("/dev/shm")
"""No disk is tested here: where there is a folder in memory, the lives take seconds."""

pytestmark = pytest.mark.parametrize("name", sorted(QUEUES))


@pytest.mark.anyio
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_promise(name: str, promise: Promise, tmp_path: Path) -> None:
    async with Bench(partial(make_queue, name), tmp_path / "state") as bench:
        assert await bench.store.recent() == []
        await promise(bench)


def test_random_lives(name: str, tmp_path: Path) -> None:
    folder = MEMORY if MEMORY.is_dir() else tmp_path
    assert run_machine(partial(make_queue, name), folder) > 1000
