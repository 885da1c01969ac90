"""Three pods that crash, stall and lose replies on one application's lists, by a seed."""

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.contract.list_bench import CHAT, SDXL, WAN, Lists, job

from ourvidz_worker.domain.errors import LeaseLost, QueueUnavailable
from ourvidz_worker.domain.job import Lease, Status
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import Settlement, Store
from ourvidz_worker.queue.list_queue import ListQueue
from ourvidz_worker.queue.scripts import Script
from ourvidz_worker.testing.queue_stores import QueueStores

pytestmark = pytest.mark.anyio

JOBS = 60
ROUNDS = 400
TTL_S = 60.0
COMPLETED = Settlement(status=Status.COMPLETED)
FAILED = Settlement(status=Status.FAILED)
PODS = ("one", "two", "three")
SENT = [
    (SDXL, "sdxl_image_fast"),
    (SDXL, "image_high"),
    (WAN, "video_fast"),
    (CHAT, "chat_enhance"),
]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueStores]:
    with QueueStores(tmp_path_factory.mktemp("servers")) as stores:
        yield stores


class Storm:
    """Pods that work as a pod does, and what an application sees of it."""

    def __init__(self, lists: Lists, seed: int) -> None:
        self.lists = lists
        self.chance = random.Random(seed)
        self.pods: dict[str, Store] = {}
        self.held: dict[str, list[Lease]] = {name: [] for name in PODS}
        self.ended: Counter[str] = Counter()
        self.told: list[tuple[str, str, bytes]] = []
        self.weather = 0.06

    async def raise_pod(self, name: str) -> None:
        """A pod starts, or comes back after a crash with nothing in its hands."""
        if name in self.pods:
            await self.pods[name].close()
        self.held[name] = []
        store = await self.lists.pod(name)
        assert isinstance(store, ListQueue)
        wire = store._steps._wire
        evaluate = wire.evaluate

        async def unsteady(script: Script, arguments: Sequence[bytes]) -> object:
            if self.chance.random() < self.weather / 2:
                raise QueueUnavailable
            reply = await evaluate(script, arguments)
            if self.chance.random() < self.weather / 2:
                raise QueueUnavailable
            return reply

        wire.evaluate = unsteady  # type: ignore[method-assign]
        self.pods[name] = store

    async def act(self, name: str) -> None:
        """One thing that a pod does; a fault of the server leaves its state as it was."""
        deed = self.chance.choice([self.take, self.work, self.work, self.tell, self.keep])
        try:
            await deed(name)
        except QueueUnavailable:
            return

    async def take(self, name: str) -> None:
        wanted = {lane: self.chance.randrange(3) for lane in Lane}
        self.held[name] += await self.pods[name].lease("pod", wanted, TTL_S)

    async def work(self, name: str) -> None:
        if not self.held[name]:
            return
        lease, store = self.held[name][0], self.pods[name]
        body = lease.job.id.encode()
        end = FAILED if lease.exhausted else COMPLETED
        try:
            await store.start(lease.token, callback=body)
            if self.chance.random() < 0.2 and not lease.exhausted:
                await store.requeue(lease.token, burn=False)
            else:
                await store.settle(lease.token, msgspec.structs.replace(end, callback=body))
                self.ended[lease.job.id] += 1
        except LeaseLost:
            pass
        self.held[name].pop(0)

    async def tell(self, name: str) -> None:
        for row in await self.pods[name].due(4):
            self.told.append((row.job_id, row.status, row.body))
            await self.pods[name].delivered(row)

    async def keep(self, name: str) -> None:
        tokens = [lease.token for lease in self.held[name]]
        kept = await self.pods[name].renew(tokens, TTL_S)
        pairs = zip(self.held[name], kept, strict=True)
        self.held[name] = [lease for lease, is_ours in pairs if is_ours]
        await self.pods[name].sweep()

    async def disturb(self) -> None:
        """Now and then a pod crashes, the scripts are forgotten, or a minute passes."""
        luck = self.chance.random()
        if luck < 0.02:
            self.weather, before = 0.0, self.weather
            await self.raise_pod(self.chance.choice(PODS))
            self.weather = before
        elif luck < 0.03:
            self.lists.client.script_flush()
        elif luck < 0.08:
            self.lists.clock.jump(self.chance.choice([1, 20, 61]))


@pytest.mark.parametrize("seed", range(6))
async def test_a_storm_loses_nothing_and_ends_every_job_once(
    seed: int, stores: QueueStores, tmp_path: Path
) -> None:
    """I1, I3, I7, K-10: every job ends once, its callbacks are told in order, nothing is left."""
    lists = Lists("redis", stores, tmp_path)
    storm = Storm(lists, seed)
    for name in PODS:
        await storm.raise_pod(name)
    for n in range(JOBS):
        listed, kind = SENT[n % len(SENT)]
        lists.push(listed, job(f"job-{n}", kind))
        if n % 7 == 0:
            lists.push(listed, job(f"job-{n}", kind), b"garbage %d" % n)
    for _ in range(ROUNDS):
        await storm.disturb()
        await storm.act(storm.chance.choice(PODS))
    storm.weather = 0.0
    for _ in range(JOBS):
        lists.clock.jump(TTL_S + 1)
        for name in PODS:
            await storm.keep(name)
            await storm.take(name)
            while storm.held[name]:
                await storm.work(name)
            await storm.tell(name)
    _check(storm)
    assert lists.leftovers() == set()
    await lists.close()


def _check(storm: Storm) -> None:
    expected = {f"job-{n}" for n in range(JOBS)}
    assert all(count == 1 for count in storm.ended.values()), "a job ended twice"
    heard: dict[str, list[str]] = {}
    for job_id, status, body in storm.told:
        assert body == job_id.encode()
        heard.setdefault(job_id, []).append(status)
    assert set(heard) == expected
    for job_id, statuses in heard.items():
        ends = [status for status in statuses if status != "processing"]
        assert len(set(ends)) == 1, f"{job_id} ended as {ends}"
        assert statuses == sorted(statuses, key=lambda status: status != "processing"), job_id
        assert storm.lists.client.get(f"worker:done:{job_id}") == ends[0].encode()
    letters = sum(len(storm.lists.letters(listed)) for listed in (SDXL, WAN, CHAT))
    assert letters == len([n for n in range(JOBS) if n % 7 == 0])
