"""The lists when the way to them fails: nothing is lost, nothing is done twice (contract Q-2)."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from tests.contract.list_bench import SDXL, TTL_S, Lists, as_pushed, job, lease

from ourvidz_worker.domain.errors import ConfigError, QueueUnavailable
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import Status
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.queue import QueueSettings, Settlement, Store, make_queue
from ourvidz_worker.queue.list_queue import ListQueue
from ourvidz_worker.queue.scripts import Script
from ourvidz_worker.queue.server import check_server
from ourvidz_worker.queue.wire import REQUEST_TIMEOUT_S
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.queue_bench import DONE, ids, is_lost
from ourvidz_worker.testing.queue_stores import QueueStores
from ourvidz_worker.testing.redis_server import RedisServer
from ourvidz_worker.testing.upstash_front import Fault, UpstashFront

pytestmark = pytest.mark.anyio

END = Settlement(status=Status.COMPLETED, callback=b"{}")
PATIENCE_S = 20.0
"""Real seconds, spent only where something is broken."""


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QueueStores]:
    with QueueStores(tmp_path_factory.mktemp("servers")) as stores:
        yield stores


@pytest.fixture(params=["redis", "upstash"])
async def lists(
    request: pytest.FixtureRequest, stores: QueueStores, tmp_path: Path
) -> AsyncIterator[Lists]:
    lists = Lists(request.param, stores, tmp_path)
    yield lists
    await lists.close()


@pytest.fixture
async def rest(stores: QueueStores, tmp_path: Path) -> AsyncIterator[Lists]:
    lists = Lists("upstash", stores, tmp_path)
    yield lists
    await lists.close()


def lose_replies(store: Store, names: Sequence[str]) -> None:
    """The next step of each name is done, and its reply never arrives."""
    assert isinstance(store, ListQueue)
    wire, left = store._steps._wire, list(names)
    evaluate = wire.evaluate

    async def losing(script: Script, arguments: Sequence[bytes]) -> object:
        reply = await evaluate(script, arguments)
        if script.name in left:
            left.remove(script.name)
            raise QueueUnavailable
        return reply

    wire.evaluate = losing  # type: ignore[method-assign]


@pytest.mark.parametrize("step", ["claim", "bind"])
async def test_a_claim_whose_reply_was_lost_gives_the_same_leases(lists: Lists, step: str) -> None:
    """Asked again; no try is burnt and nobody waits for the lease to lapse."""
    lists.push(SDXL, *(job(f"job-{n}") for n in range(3)))
    pod = await lists.pod()
    lose_replies(pod, [step])
    with pytest.raises(QueueUnavailable):
        await lease(pod, count=2)
    assert lists.client.llen(SDXL) == 1
    leases = await lease(pod, count=2)
    assert ids(leases) == ["job-0", "job-1"]
    assert [each.tries for each in leases] == [1, 1]
    assert ids(await lease(pod, count=2)) == ["job-2"]


async def test_leases_found_again_are_not_more_than_wanted(lists: Lists) -> None:
    """What is too much by then goes back to the left, its try not burnt."""
    lists.push(SDXL, *(job(f"job-{n}") for n in range(3)))
    pod = await lists.pod()
    lose_replies(pod, ["claim"])
    with pytest.raises(QueueUnavailable):
        await lease(pod, count=2)
    assert ids(await lease(pod, count=1)) == ["job-0"]
    assert lists.client.llen(SDXL) == 2
    (back,) = await lease(pod, count=1)
    assert (back.job.id, back.tries) == ("job-1", 1)


async def test_a_settle_whose_reply_was_lost_is_done_once(lists: Lists) -> None:
    """I8: said again it is no lost lease, and its callback is owed once."""
    lists.push(SDXL, job("a"))
    pod = await lists.pod()
    (held,) = await lease(pod)
    lose_replies(pod, ["settle"])
    with pytest.raises(QueueUnavailable):
        await pod.settle(held.token, END)
    await pod.settle(held.token, END)
    assert [row.status for row in await pod.due(9)] == ["completed"]
    assert await is_lost(pod.settle(held.token, END))
    assert await pod.owed() == 1


async def test_a_settle_that_nobody_says_again_is_found_by_the_sweep(lists: Lists) -> None:
    lists.push(SDXL, job("a"))
    pod = await lists.pod()
    (held,) = await lease(pod)
    lose_replies(pod, ["settle"])
    with pytest.raises(QueueUnavailable):
        await pod.settle(held.token, END)
    assert await pod.owed() == 0
    await pod.sweep()
    assert [row.status for row in await pod.due(9)] == ["completed"]


async def test_a_callback_whose_record_did_not_answer_is_told_again_and_ended(
    lists: Lists,
) -> None:
    """K-12: the same bytes twice are harmless; a row is struck only after its record knows."""
    lists.push(SDXL, job("a"))
    pod = await lists.pod()
    (held,) = await lease(pod)
    await pod.settle(held.token, END)
    (row,) = await pod.due(9)
    lose_replies(pod, ["tell"])
    with pytest.raises(QueueUnavailable):
        await pod.delivered(row)
    assert lists.client.get("worker:done:a") == b"completed"
    assert await pod.due(9) == []
    assert await pod.owed() == 0


async def test_a_requeue_whose_reply_was_lost_is_harmless(lists: Lists) -> None:
    lists.push(SDXL, job("a"))
    pod = await lists.pod()
    (held,) = await lease(pod)
    lose_replies(pod, ["requeue"])
    with pytest.raises(QueueUnavailable):
        await pod.requeue(held.token, burn=False)
    assert await is_lost(pod.requeue(held.token, burn=False))
    (again,) = await lease(pod)
    assert again.tries == 1


async def test_a_sweep_whose_reply_was_lost_owes_nothing_less(lists: Lists) -> None:
    """What a dead pod owed is taken over by the next sweep's look."""
    lists.push(SDXL, job("a"))
    one, two = await lists.pod("one"), await lists.pod("two")
    (held,) = await lease(one)
    await one.settle(held.token, END)
    lists.clock.jump(TTL_S)
    lose_replies(two, ["sweep"])
    with pytest.raises(QueueUnavailable):
        await two.sweep()
    assert await two.owed() == 0
    await two.sweep()
    assert [row.job_id for row in await two.due(9)] == ["a"]


async def test_scripts_that_the_server_forgot_are_taught_again(lists: Lists) -> None:
    lists.push(SDXL, job("a"), job("b"))
    pod = await lists.pod()
    (held,) = await lease(pod)
    lists.client.script_flush()
    await pod.settle(held.token, DONE)
    lists.client.script_flush()
    assert ids(await lease(pod)) == ["b"]


@pytest.mark.parametrize("name", ["redis", "upstash"])
async def test_a_server_that_is_killed_and_comes_back_has_lost_nothing(
    name: str, tmp_path: Path
) -> None:
    """With its append-only file; meanwhile every call is `QueueUnavailable`, never "no job"."""
    clock = FakeClock()
    with (
        RedisServer(tmp_path / "redis", durable=True) as server,
        UpstashFront(server.port) as front,
    ):
        url = server.url(1) if name == "redis" else front.url
        settings = QueueSettings(state_dir=tmp_path / "state", url=url, token=front.token(1))
        pod = make_queue(name, settings, clock)
        await pod.open()
        with server.client(1) as client:
            client.rpush(SDXL, *(as_pushed(job(f"job-{n}")) for n in range(3)))
        first, second = await lease(pod, count=2)
        await pod.settle(first.token, END)
        server.stop(signal.SIGKILL)
        for _ in range(3):
            with pytest.raises(QueueUnavailable):
                await lease(pod)
            with pytest.raises(QueueUnavailable):
                await pod.settle(second.token, END)
        server.start()
        await _until_it_answers(pod)
        await pod.settle(second.token, END)
        assert ids(await lease(pod, count=9)) == ["job-2"]
        assert [row.job_id for row in await pod.due(9)] == ["job-0", "job-1"]
        await pod.close()


async def _until_it_answers(pod: Store) -> None:
    """Connections that broke are found out one by one."""
    for _ in range(20):
        try:
            await pod.depths()
        except QueueUnavailable:
            continue
        return
    raise AssertionError("the server is back and the pod does not notice")


@pytest.mark.parametrize("fault", ["500", "401", "html", "lost"])
async def test_a_fault_of_the_service_is_never_no_job(rest: Lists, fault: Fault) -> None:
    """Q-2."""
    rest.push(SDXL, job("a"))
    pod = await rest.pod()
    rest.stores.front.faults.append(fault)
    with pytest.raises(QueueUnavailable) as raised:
        await lease(pod)
    told = repr(raised.value.facts)
    assert rest.stores.front.url not in told
    assert rest.stores.front.token(1)[:5] not in told
    assert ids(await lease(pod)) == ["a"]


@pytest.mark.parametrize("fault", ["stall", "unanswered"])
async def test_a_service_that_does_not_answer_is_given_up(
    rest: Lists, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Q-2: after ten seconds; here sooner."""
    assert REQUEST_TIMEOUT_S == 10
    monkeypatch.setattr("ourvidz_worker.queue.upstash_wire.REQUEST_TIMEOUT_S", 0.3)
    rest.push(SDXL, job("a"))
    pod = await rest.pod()
    rest.stores.front.faults.append(fault)
    with pytest.raises(QueueUnavailable):
        await lease(pod)
    assert ids(await lease(pod)) == ["a"]


async def test_a_push_wakes_whoever_waits(lists: Lists) -> None:
    """Q-3, Q-4: over TCP at once, over REST at the next look."""
    pod = await lists.pod()
    assert await pod.changed(0)
    assert await lease(pod) == []
    waiter = asyncio.create_task(pod.changed(3600))
    await lists.clock.advance(0)
    lists.push(SDXL, job("a"))
    while lists.name == "upstash" and not waiter.done():
        await _pass_a_second(lists.clock, waiter)
    assert await asyncio.wait_for(waiter, PATIENCE_S)
    assert ids(await lease(pod)) == ["a"]


async def test_an_idle_pod_asks_seldom(rest: Lists) -> None:
    """Q-4: one request a look for all lists, after 1, 2, 4, 5, 5 s; after a job again after 1 s."""
    pod = await rest.pod()
    await pod.changed(0)
    assert await lease(pod) == []
    assert await _looks(rest, pod, 22) == [1, 3, 7, 12, 17, 22]
    rest.push(SDXL, job("a"))
    await lease(pod)
    assert await _looks(rest, pod, 3) == [1, 3]


async def test_the_depths_cost_no_more_than_the_polling(rest: Lists) -> None:
    """Q-4, H-11: health asks every second, the service is asked every fifth; our own acts count."""
    pod, front = await rest.pod(), rest.stores.front
    await pod.depths()
    before = front.requests
    for _ in range(4):
        rest.clock.jump(1)
        await pod.depths()
    assert front.requests == before
    rest.push(SDXL, job("a"))
    rest.clock.jump(1)
    assert (await pod.depths())[Lane.IMAGE] == Depth(waiting=1, leased=0)
    await lease(pod)
    assert (await pod.depths())[Lane.IMAGE] == Depth(waiting=0, leased=1)


async def _looks(rest: Lists, pod: Store, seconds: int) -> list[int]:
    """Within which seconds of waiting the service was asked."""
    waiter = asyncio.create_task(pod.changed(seconds + 0.5))
    asked, front = [], rest.stores.front
    for second in range(1, seconds + 1):
        before = front.requests
        await _pass_a_second(rest.clock, waiter)
        asked += [second] * (front.requests - before)
    await rest.clock.advance(1)
    assert not await waiter
    return asked


async def _pass_a_second(clock: FakeClock, waiter: asyncio.Task[bool]) -> None:
    """And let a look that began in it be answered: both who wait and who looks sleep again."""
    await clock.advance(1)
    async with asyncio.timeout(PATIENCE_S):
        while clock.sleepers() < 2 and not waiter.done():
            await asyncio.to_thread(clock.sleepers)


@pytest.mark.parametrize("name", ["redis", "upstash"])
async def test_leases_go_by_the_servers_clock(
    name: str, stores: QueueStores, tmp_path: Path
) -> None:
    """A pod's own clock, however wrong, neither ends a lease nor prolongs it."""
    settings = stores.settings(name, tmp_path / "pod", beside=tmp_path)
    clock = FakeClock()
    pod = make_queue(name, msgspec.structs.replace(settings, server_time=True), clock)
    await pod.open()
    with stores.server.client(stores.database(tmp_path)) as client:
        client.rpush(SDXL, as_pushed(job("a")), as_pushed(job("b")))
    await lease(pod)
    clock.jump(86_400)
    assert await pod.sweep() == 0
    (short,) = await pod.lease("pod", {Lane.IMAGE: 1}, 0.0)
    assert await pod.sweep() == 1
    assert await is_lost(pod.settle(short.token, DONE))
    await pod.close()


async def test_a_cluster_is_refused() -> None:
    with pytest.raises(ConfigError, match="cluster"):
        check_server({"cluster_enabled": "1", "redis_version": "7.0.15"})
    with pytest.raises(ConfigError, match=r"6\.2"):
        check_server({"redis_version": "6.0.16"})
    check_server({"redis_version": "7.4.1"})
    check_server({})


async def test_a_server_that_may_lose_jobs_is_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    check_server({"role": "slave", "aof_enabled": "0", "maxmemory_policy": "allkeys-lru"})
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3


async def test_a_wrong_address_or_token_is_the_operators(
    stores: QueueStores, tmp_path: Path
) -> None:
    wrong = {"redis": "http://nowhere", "upstash": "redis://nowhere"}
    for name, url in wrong.items():
        settings = QueueSettings(state_dir=tmp_path / name, url=url, token="t")
        with pytest.raises(ConfigError):
            await make_queue(name, settings, FakeClock()).open()
    settings = QueueSettings(state_dir=tmp_path / "token", url=stores.front.url, token="wrong")
    with pytest.raises(ConfigError, match="TOKEN"):
        await make_queue("upstash", settings, FakeClock()).open()


async def test_a_store_that_could_not_open_holds_nothing(tmp_path: Path) -> None:
    """The folder is free for another try when the server is not there yet."""
    with RedisServer(tmp_path / "redis") as server:
        settings = QueueSettings(state_dir=tmp_path / "state", url=server.url(1))
        store = make_queue("redis", settings, FakeClock())
        server.stop()
        for _ in range(2):
            with pytest.raises(QueueUnavailable):
                await store.open()
        server.start()
        await store.open()
        assert await store.lease("pod", {Lane.IMAGE: 1}, TTL_S) == []
        await store.close()
