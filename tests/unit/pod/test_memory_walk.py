"""Any sequence of work, commands, crashes and foreign memory leaves the device well kept."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.pod.memory_scene import LOAD_S, Desk

from ourvidz_worker.domain.errors import OurvidzError
from ourvidz_worker.domain.lane import START_ORDER, Lane
from ourvidz_worker.domain.memory import GIB, Operation, Order
from ourvidz_worker.domain.messages import Beat
from ourvidz_worker.residency.policy import STANDING

lanes = st.sampled_from(START_ORDER)
STEPS = st.one_of(
    st.tuples(st.just("queue"), lanes, st.integers(0, 3)),
    st.tuples(st.just("work"), lanes, st.just(0)),
    st.tuples(st.just("finish"), lanes, st.integers(0, 20)),
    st.tuples(st.just("crash"), lanes, st.just(0)),
    st.tuples(st.just("foreign"), lanes, st.integers(0, 48)),
    st.tuples(st.just("wait"), lanes, st.integers(1, 70)),
    st.tuples(st.just("load"), lanes, st.integers(0, 1)),
    st.tuples(st.just("unload"), lanes, st.integers(0, 1)),
    st.tuples(st.just("summon"), lanes, st.integers(1, 60)),
    st.tuples(st.just("room"), lanes, st.integers(0, 1)),
    st.tuples(st.just("clean"), lanes, st.integers(0, 1)),
)


class Walk:
    """One sequence, played on a card of 48 GiB."""

    def __init__(self) -> None:
        self.desk = Desk()
        self.attempts: dict[Lane, asyncio.Task[object]] = {}
        self.commands: list[asyncio.Task[object]] = []

    async def play(self, steps: Sequence[tuple[str, Lane, int]]) -> set[Lane]:
        """Play every step, check after each; whoever is missing once all has come to rest."""
        self.desk.begin()
        await self.desk.pass_time(2 * LOAD_S + 2)
        for name, lane, amount in steps:
            await self._step(name, lane, amount)
            self._check()
        missing = await self._rest()
        await self.desk.close()
        return missing

    async def _step(self, name: str, lane: Lane, amount: int) -> None:
        desk = self.desk
        match name:
            case "queue":
                desk.wait_in(lane, amount)
            case "work" if lane in desk.up() and lane not in self.attempts:
                self.attempts[lane] = await desk.work(lane)
            case "finish" if lane in self.attempts:
                await desk.finish(lane, peak_gib=amount)
                del self.attempts[lane]
            case "crash" if lane in desk.fakes:
                desk.fakes[lane].process.kill()
                self.attempts.pop(lane, None)
            case "foreign":
                desk.foreign_bytes = amount * GIB
            case "wait":
                await self._pass(amount)
            case _:
                self._command(name, lane, amount)
        await desk.clock.advance(0)

    def _command(self, name: str, lane: Lane, amount: int) -> None:
        memory, force = self.desk.memory, bool(amount)
        room = Order(operation=Operation.HANDLE_EMERGENCY_REQUEST, target=lane, force=force)
        clean = Order(operation=Operation.FORCE_CLEANUP, force=force)
        works: dict[str, Callable[[], Coroutine[None, None, object]]] = {
            "load": lambda: memory.load([lane], force=force),
            "unload": lambda: memory.unload([lane], force=force),
            "summon": lambda: memory.summon(lane, float(amount)),
            "room": lambda: memory.operate(room),
            "clean": lambda: memory.operate(clean),
        }
        if name in works:
            self.commands.append(asyncio.ensure_future(works[name]()))

    async def _pass(self, seconds: int) -> None:
        """Time goes by, and every living worker beats."""
        for _ in range(seconds):
            await self.desk.pass_time(1)
            for fake in self.desk.fakes.values():
                fake.pipe.reports.put_nowait(Beat(steps=0, rss_bytes=0))
            self.attempts = {lane: task for lane, task in self.attempts.items() if not task.done()}

    def _check(self) -> None:
        """O-4: one process for each lane at most; and no loop has broken."""
        assert all(self.desk.alive(lane) <= 1 for lane in START_ORDER)
        assert not any(task.done() for task in self.desk.tasks[:2])
        for command in self.commands:
            if command.done() and (error := command.exception()) is not None:
                assert isinstance(error, OurvidzError)

    async def _rest(self) -> set[Lane]:
        """No work, no foreign memory: whoever belongs on the device has time to come back."""
        self.desk.foreign_bytes = 0
        for lane in START_ORDER:
            self.desk.wait_in(lane, 0)
        for lane in list(self.attempts):
            await self.desk.finish(lane)
        self.attempts.clear()
        await self._pass(400)
        self._check()
        assert all(command.done() for command in self.commands)
        released = {entry.lane for entry in self.desk.broker.entries if entry.released}
        return set(STANDING) - released - self.desk.up()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, max_size=15))
def test_every_walk_comes_to_rest(steps: list[tuple[str, Lane, int]]) -> None:
    """M-4, M-5, O-4."""

    async def walk() -> set[Lane]:
        return await Walk().play(steps)

    assert asyncio.run(walk()) == set()
