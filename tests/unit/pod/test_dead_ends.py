"""Dead ends on a real queue: what was given up goes on its way again, and the pump hears of it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.errors import Conflict, NotFound
from ourvidz_worker.domain.event import EventKind
from ourvidz_worker.domain.job import Status
from ourvidz_worker.pod.dead_ends import DeadEnds
from ourvidz_worker.pod.hub import Hub
from ourvidz_worker.queue import QueueSettings, Settlement, Store, make_queue
from ourvidz_worker.testing.queue_bench import Bench

pytestmark = pytest.mark.anyio

BROKEN = Settlement(
    status=Status.FAILED, code="OOM_ERROR", sentence="No room.", callback=b"{}", dead=True
)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    def make(folder: Path, clock: Clock) -> Store:
        return make_queue("sqlite", QueueSettings(state_dir=folder), clock)

    async with Bench(make, tmp_path / "state") as bench:
        yield bench


def dead_ends(bench: Bench, kicks: list[int]) -> DeadEnds:
    hub = Hub(bench.store, bench.clock)
    return DeadEnds(queue=bench.store, hub=hub, owed=lambda: kicks.append(1))


async def test_a_letter_is_a_job_again_and_a_callback_is_owed(bench: Bench) -> None:
    """Q-21, K-11: the job tells of its new life from the beginning."""
    kicks: list[int] = []
    desk = dead_ends(bench, kicks)
    await bench.store.settle((await bench.held("a")).token, BROKEN)
    (letter,) = await desk.letters(9)
    with pytest.raises(Conflict):
        await desk.replay(letter.id)
    (row,) = await bench.due()
    await bench.store.give_up(row, "HTTP 410")
    (dead,) = await desk.callbacks(9)
    await desk.revive(dead.id)
    assert kicks == [1]
    (row,) = await bench.due()
    await bench.store.delivered(row)
    assert await desk.replay(letter.id) == "a"
    assert [event.kind for event in await bench.store.events("a")] == [EventKind.ACCEPTED]
    assert await desk.letters(9) == []
    assert await desk.callbacks(9) == []


async def test_what_is_not_there_is_not_found(bench: Bench) -> None:
    kicks: list[int] = []
    desk = dead_ends(bench, kicks)
    with pytest.raises(NotFound):
        await desk.replay("1")
    with pytest.raises(NotFound):
        await desk.revive(1)
    assert kicks == []
