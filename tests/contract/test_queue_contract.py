"""Every registered queue keeps the promises of the port."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ourvidz_worker.queue import QUEUES
from ourvidz_worker.testing.check_queue import run_machine
from ourvidz_worker.testing.queue_bench import Bench
from ourvidz_worker.testing.queue_promises import PROMISES, Promise
from ourvidz_worker.testing.queue_stores import QueueStores

MEMORY = Path("/dev/shm")
"""No disk is tested here: where there is a folder in memory, the lives take seconds."""

LIVES = {"sqlite": 60, "redis": 25, "upstash": 8}
"""A request over HTTP costs ten times a call within the process."""

pytestmark = pytest.mark.parametrize("name", sorted(QUEUES))


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueStores]:
    with QueueStores(tmp_path_factory.mktemp("servers")) as stores:
        yield stores


@pytest.mark.anyio
@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
async def test_promise(name: str, promise: Promise, stores: QueueStores, tmp_path: Path) -> None:
    async with Bench(stores.maker(name), tmp_path / "state") as bench:
        assert await bench.store.recent() == []
        await promise(bench)


def test_random_lives(name: str, stores: QueueStores, tmp_path: Path) -> None:
    folder = MEMORY if MEMORY.is_dir() else tmp_path
    compared = run_machine(stores.maker(name), folder, examples=LIVES[name])
    assert compared > 10 * LIVES[name]
