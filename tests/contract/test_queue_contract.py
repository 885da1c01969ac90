"""Every registered queue keeps the promises of the port."""

from pathlib import Path

import pytest

from ourvidz_worker.clock import Clock
from ourvidz_worker.queue import QUEUES, QueueSettings, Store, make_queue
from ourvidz_worker.testing.check_queue import run_machine
from ourvidz_worker.testing.queue_bench import Bench, Make
from ourvidz_worker.testing.queue_promises import PROMISES, Promise

MEMORY = Path("/dev/shm")
"""No disk is tested here: where there is a folder in memory, the lives take seconds."""


def maker(name: str) -> Make:
    def make(folder: Path, clock: Clock) -> Store:
        return make_queue(name, QueueSettings(state_dir=folder), clock)

    return make


pytestmark = pytest.mark.parametrize("name", sorted(QUEUES))


@pytest.mark.anyio
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_promise(name: str, promise: Promise, tmp_path: Path) -> None:
    async with Bench(maker(name), tmp_path / "state") as bench:
        assert await bench.store.recent() == []
        await promise(bench)


def test_random_lives(name: str, tmp_path: Path) -> None:
    folder = MEMORY if MEMORY.is_dir() else tmp_path
    assert run_machine(maker(name), folder) > 1000
