"""Commands to the memory: load, unload, and every operation of contract 9."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import TypeVar

import pytest
from tests.unit.pod.memory_scene import LOAD_S, Desk

from ourvidz_worker.domain.errors import (
    Conflict,
    ModelLoadFailed,
    OutOfMemory,
    RequestError,
    Unavailable,
)
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.domain.memory import GIB, Operation, OperationReply, Order
from ourvidz_worker.domain.messages import Stopped, Trim
from ourvidz_worker.pod.memory_operations import ON_A_DEVICE

pytestmark = pytest.mark.anyio

Value = TypeVar("Value")


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    """Two workers are up, and nothing is done by itself."""
    made = Desk()
    made.begin(loops=False)
    await made.pass_time(2 * LOAD_S + 2)
    yield made
    await made.close()


async def done(
    desk: Desk, work: Coroutine[None, None, Value], seconds: float = LOAD_S + 3
) -> Value:
    """What comes of a command while time passes."""
    task = asyncio.create_task(work)
    await desk.pass_time(seconds)
    assert task.done()
    return task.result()


async def operate(desk: Desk, operation: Operation, **order: object) -> OperationReply:
    """One operation, carried out."""
    asked = Order(operation=operation, **order)  # type: ignore[arg-type]
    return await done(desk, desk.memory.operate(asked))


async def test_a_load_goes_into_free_room_alone_unless_it_is_forced(desk: Desk) -> None:
    """2.4: no room is `OOM_ERROR`; force evicts idle models to make room."""
    with pytest.raises(OutOfMemory):
        await done(desk, desk.memory.load([Lane.VIDEO]))
    assert desk.up() == {Lane.IMAGE, Lane.CHAT}
    assert await done(desk, desk.memory.load([Lane.VIDEO], force=True)) == (Lane.VIDEO,)
    assert desk.up() == {Lane.IMAGE, Lane.VIDEO}
    assert await done(desk, desk.memory.load([Lane.VIDEO])) == (Lane.VIDEO,)
    assert desk.started.count(Lane.VIDEO) == 1


async def test_of_several_as_many_are_loaded_as_fit(desk: Desk) -> None:
    """2.4: load `all` is as many as fit."""
    up = await done(desk, desk.memory.load([Lane.IMAGE, Lane.VIDEO]))
    assert up == (Lane.IMAGE,)


async def test_an_unload_in_use_is_a_conflict_and_force_stops_the_work(desk: Desk) -> None:
    running = await desk.work(Lane.CHAT)
    with pytest.raises(Conflict):
        await done(desk, desk.memory.unload([Lane.CHAT]), 62)
    assert desk.up() == {Lane.IMAGE, Lane.CHAT}
    await done(desk, desk.memory.unload([Lane.CHAT], force=True), 25)
    assert await running == Stopped(attempt_id="chat", reason="draining")
    assert desk.up() == {Lane.IMAGE}
    await done(desk, desk.memory.unload([Lane.CHAT]), 1)
    assert desk.events()[-1] == ("unload", "chat", "operator", None)


async def test_a_lane_without_a_model_is_not_loaded() -> None:
    desk = Desk()
    del desk.broker.workers[Lane.VIDEO]
    with pytest.raises(ModelLoadFailed):
        await desk.memory.load([Lane.VIDEO])
    with pytest.raises(ModelLoadFailed):
        await desk.memory.unload([Lane.VIDEO])


@pytest.mark.parametrize("operation", [Operation.STATUS, Operation.PRESSURE_CHECK])
async def test_status_tells_pressure_and_table(desk: Desk, operation: Operation) -> None:
    await desk.broker.look()
    told = await operate(desk, operation)
    assert (told.success, told.operation, told.action_taken) == (True, operation.value, "none")
    assert (told.pressure, told.freed_gb) == ("low", 0.0)
    assert told.before == told.after
    assert told.after.available_gb == 21.0
    assert told.after.workers == {"sdxl": "loaded", "chat": "loaded", "wan": "unloaded"}


async def test_the_report_is_that_of_the_endpoint(desk: Desk) -> None:
    await desk.broker.look()
    told = await operate(desk, Operation.MEMORY_REPORT)
    report = desk.memory.memory_report()
    assert (told.worker_status, told.predictions) == (report.worker_status, report.predictions)
    assert (told.pressure_level, told.available_vram) == ("low", 21 * 1024)


async def test_force_unload_takes_its_target(desk: Desk) -> None:
    told = await operate(desk, Operation.FORCE_UNLOAD, target=Lane.CHAT)
    assert (told.action_taken, told.freed_gb) == ("unloaded chat", 15.0)
    assert (told.before.workers["chat"], told.after.workers["chat"]) == ("loaded", "unloaded")
    told = await operate(desk, Operation.FORCE_UNLOAD, target=Lane.CHAT)
    assert (told.action_taken, told.freed_gb) == ("none", 0.0)
    with pytest.raises(RequestError):
        await operate(desk, Operation.FORCE_UNLOAD)


async def test_force_unload_all_except_keeps_only_its_target(desk: Desk) -> None:
    told = await operate(desk, Operation.FORCE_UNLOAD_ALL_EXCEPT, target=Lane.CHAT)
    assert (told.action_taken, desk.up()) == ("unloaded sdxl", {Lane.CHAT})


async def test_force_cleanup_unloads_idle_chat_then_wan_and_never_sdxl(desk: Desk) -> None:
    """9: success if more than 10 GB are available afterwards."""
    told = await operate(desk, Operation.FORCE_CLEANUP)
    assert (told.action_taken, desk.up()) == ("unloaded chat", {Lane.IMAGE})
    assert all(Trim() in desk.fakes[lane].pipe.sent for lane in (Lane.IMAGE, Lane.CHAT))
    await done(desk, desk.memory.load([Lane.VIDEO]))
    desk.foreign_bytes = 7 * GIB
    told = await operate(desk, Operation.FORCE_CLEANUP)
    assert (told.action_taken, desk.up()) == ("unloaded wan", {Lane.IMAGE})
    desk.foreign_bytes = 26 * GIB
    with pytest.raises(OutOfMemory):
        await operate(desk, Operation.FORCE_CLEANUP)
    assert desk.up() == {Lane.IMAGE}


async def test_an_emergency_makes_room_in_the_order_of_the_table(desk: Desk) -> None:
    """9: fits, then nothing; else chat, wan, sdxl in this order while needed; verified."""
    told = await operate(desk, Operation.HANDLE_EMERGENCY_REQUEST, target=Lane.CHAT)
    assert told.action_taken == "none"
    told = await operate(
        desk, Operation.HANDLE_EMERGENCY_REQUEST, target=Lane.VIDEO, required_gb=40.0
    )
    assert told.action_taken == "evicted chat, sdxl"
    assert told.after.available_gb == 46.0
    with pytest.raises(OutOfMemory):
        await operate(desk, Operation.HANDLE_EMERGENCY_REQUEST, target=Lane.VIDEO, required_gb=60.0)


async def test_an_emergency_spares_the_busy_unless_it_is_forced(desk: Desk) -> None:
    """M-5: pinned or busy models are never evicted except by force."""
    image, chat = await desk.work(Lane.IMAGE), await desk.work(Lane.CHAT)
    with pytest.raises(OutOfMemory):
        await operate(desk, Operation.HANDLE_EMERGENCY_REQUEST, target=Lane.VIDEO)
    order = Order(operation=Operation.HANDLE_EMERGENCY_REQUEST, target=Lane.VIDEO, force=True)
    told = await done(desk, desk.memory.operate(order), 25)
    assert told.action_taken == "evicted chat"
    assert chat.done()
    assert not image.done()
    image.cancel()


async def test_the_predictor_runs_on_demand(desk: Desk) -> None:
    """M-6: only into free room; a target names what is expected."""
    assert (await operate(desk, Operation.PREDICTIVE_LOAD)).action_taken == "none"
    with pytest.raises(OutOfMemory):
        await operate(desk, Operation.PREDICTIVE_LOAD, target=Lane.VIDEO)
    told = await operate(desk, Operation.PREDICTIVE_LOAD, target=Lane.IMAGE)
    assert told.action_taken == "none"
    await done(desk, desk.memory.unload([Lane.CHAT]))
    told = await operate(desk, Operation.PREDICTIVE_LOAD, target=Lane.CHAT)
    assert told.action_taken == "loaded chat"
    assert desk.events()[-2] == ("load", "chat", "predicted", None)


async def test_operations_are_one_at_a_time_and_recorded(desk: Desk) -> None:
    """9: all operations are serialised and logged as events."""
    orders = [
        Order(operation=Operation.FORCE_UNLOAD, target=Lane.CHAT),
        Order(operation=Operation.FORCE_UNLOAD, target=Lane.IMAGE),
        Order(operation=Operation.FORCE_CLEANUP),
    ]
    tasks = [asyncio.create_task(desk.memory.operate(order)) for order in orders]
    await desk.pass_time(10)
    assert [task.result().action_taken for task in tasks] == [
        "unloaded chat",
        "unloaded sdxl",
        "none",
    ]
    told = [
        (event.event, event.worker, event.operation)
        for event in desk.memory.memory_report().events[2:]
    ]
    assert told == [
        ("unload", "chat", None),
        ("operation", "chat", "force_unload"),
        ("unload", "sdxl", None),
        ("operation", "sdxl", "force_unload"),
        ("operation", None, "force_cleanup"),
    ]


async def test_without_a_device_nothing_is_told_of_one_and_workers_still_obey() -> None:
    """9: no GPU is `WORKER_UNAVAILABLE`."""
    desk = Desk(total_gib=None)
    desk.begin(loops=False)
    await desk.pass_time(3 * LOAD_S + 4)
    with pytest.raises(Unavailable):
        desk.memory.memory_status("wan")
    for operation in ON_A_DEVICE:
        with pytest.raises(Unavailable):
            await operate(desk, operation, target=Lane.CHAT)
    report = desk.memory.memory_report()
    assert (report.pressure_level, report.available_vram) == (None, None)
    assert report.worker_status["sdxl"].memory == 0
    told = await operate(desk, Operation.FORCE_UNLOAD, target=Lane.CHAT)
    assert (told.action_taken, told.after.available_gb) == ("unloaded chat", None)
    assert await done(desk, desk.memory.load([Lane.CHAT])) == (Lane.CHAT,)
    await desk.close()


async def test_the_status_has_the_contract_s_members_and_units(desk: Desk) -> None:
    """9: flat GiB floats, MiB ints, worker states and allocation texts; each side its own."""
    desk.foreign_bytes = GIB
    await desk.broker.look()
    told = desk.memory.memory_status("chat")
    assert (told.total_vram, told.allocated_vram, told.available_vram) == (48.0, 26.0, 20.0)
    assert (told.model_loaded, told.instruct_loaded, told.base_loaded) == (True, True, False)
    assert (told.sdxl_loaded, told.wan_loaded) == (True, False)
    assert (told.memory_fraction, told.worker_type) == (0.31, "chat")
    usage = told.vram_usage
    assert (usage.total, usage.used, usage.free) == (48 * 1024, 26 * 1024, 22 * 1024)
    assert usage.pressure == "low"
    assert told.workers == {
        "sdxl_worker": "loaded",
        "chat_worker": "loaded",
        "wan_worker": "unloaded",
    }
    assert told.memory_allocation["wan"].startswith("30.0 GiB budget; loaded on demand")
    assert desk.memory.memory_status("wan").memory_fraction == 0.21
    report = desk.memory.memory_report()
    sdxl = report.worker_status["sdxl"]
    assert (sdxl.loaded, sdxl.memory, sdxl.peak, sdxl.in_use) == (True, 10 * 1024, None, False)
    assert sdxl.last_used is None
