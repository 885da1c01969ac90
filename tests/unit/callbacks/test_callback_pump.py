"""The pump: order within a job, several jobs at once, retries on the clock, and a clean end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import msgspec
import pytest

from ourvidz_worker.callbacks import OutboxPump
from ourvidz_worker.callbacks.progress import ProgressRow
from ourvidz_worker.callbacks.pump import AT_ONCE
from ourvidz_worker.callbacks.verdict import Delivered, Final, Parked, Retry, Verdict
from ourvidz_worker.domain.errors import QueueUnavailable
from ourvidz_worker.testing.clock import FakeClock

pytestmark = pytest.mark.anyio


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A callback owed."""

    id: int
    job_id: str
    status: str
    body: bytes = b"{}"
    tries: int = 0
    created_at: float = 0.0


class MemoryOutbox:
    """An outbox in memory, with the order that the real one promises."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._rows: dict[int, Row] = {}
        self._due: dict[int, float] = {}
        self.struck: list[int] = []
        self.dead: list[tuple[int, str]] = []
        self.broken = 0

    def owe(self, job_id: str, status: str = "completed") -> None:
        number = len(self._rows) + len(self.struck) + len(self.dead) + 1
        self._rows[number] = Row(
            id=number, job_id=job_id, status=status, created_at=self._clock.now()
        )
        self._due[number] = self._clock.now()

    async def due(self, limit: int) -> list[Row]:
        self._break()
        first: dict[str, Row] = {}
        for number in sorted(self._rows):
            first.setdefault(self._rows[number].job_id, self._rows[number])
        ready = [row for row in first.values() if self._due[row.id] <= self._clock.now()]
        return ready[:limit]

    async def next_due_in(self) -> float | None:
        if not self._rows:
            return None
        return max(0.0, min(self._due.values()) - self._clock.now())

    async def delivered(self, row: Row) -> None:
        self._break()
        self.struck.append(row.id)
        self._drop(row)

    async def postpone(self, row: Row, delay_s: float, error: str) -> None:
        self._rows[row.id] = msgspec.structs.replace(row, tries=row.tries + 1)
        self._due[row.id] = self._clock.now() + delay_s

    async def give_up(self, row: Row, reason: str) -> None:
        self.dead.append((row.id, reason))
        self._drop(row)

    def _drop(self, row: Row) -> None:
        del self._rows[row.id], self._due[row.id]

    def _break(self) -> None:
        if self.broken:
            self.broken -= 1
            raise QueueUnavailable


class Receiver:
    """Answers with what a function says, and notes what came and how many were under way."""

    def __init__(self, answer: Callable[[Row | ProgressRow], Verdict | Awaitable[Verdict]]) -> None:
        self._answer = answer
        self.came: list[tuple[str, str, int]] = []
        self.under_way: dict[str, int] = {}
        self.most_at_once = 0

    async def send(self, row: object) -> Verdict:
        assert isinstance(row, Row | ProgressRow)
        self.came.append((row.job_id, row.status, row.tries))
        self.under_way[row.job_id] = self.under_way.get(row.job_id, 0) + 1
        assert self.under_way[row.job_id] == 1
        self.most_at_once = max(self.most_at_once, sum(self.under_way.values()))
        answer = self._answer(row)
        try:
            return answer if not isinstance(answer, Awaitable) else await answer
        finally:
            self.under_way[row.job_id] -= 1


class Scene:
    """A pump with its outbox, receiver and clock."""

    def __init__(self, answer: Callable[[Row | ProgressRow], Verdict | Awaitable[Verdict]]) -> None:
        self.clock = FakeClock()
        self.outbox = MemoryOutbox(self.clock)
        self.receiver = Receiver(answer)
        self.skipped: list[str] = []
        self.pump = OutboxPump(
            self.outbox, self.receiver, self.clock, lambda: 1.0, skipped=self.skipped.append
        )
        self.stop = asyncio.Event()

    def refused(self) -> bool:
        return self.pump.refused


@asynccontextmanager
async def running(scene: Scene) -> AsyncIterator["asyncio.Task[None]"]:
    task = asyncio.create_task(scene.pump.run(scene.stop))
    await scene.clock.advance(0)
    yield task
    scene.stop.set()
    await task


async def test_what_is_owed_is_delivered_in_order_within_each_job() -> None:
    scene = Scene(lambda _: Delivered())
    for job in ("a", "b"):
        for status in ("processing", "completed"):
            scene.outbox.owe(job, status)
    async with running(scene):
        assert scene.outbox.struck == [1, 3, 2, 4]
    for job in ("a", "b"):
        of_job = [status for name, status, _ in scene.receiver.came if name == job]
        assert of_job == ["processing", "completed"]


async def test_a_kick_wakes_a_pump_with_nothing_to_do() -> None:
    scene = Scene(lambda _: Delivered())
    async with running(scene):
        await scene.clock.advance(10_000)
        scene.outbox.owe("a")
        await scene.clock.advance(0)
        assert scene.receiver.came == []
        scene.pump.kick()
        await scene.clock.advance(0)
        assert scene.outbox.struck == [1]


async def test_tries_follow_the_clock_and_hold_back_the_jobs_next_callback() -> None:
    answers: list[Verdict] = [Retry(error="e"), Retry(error="e"), Delivered(), Delivered()]
    scene = Scene(lambda _: answers.pop(0))
    scene.outbox.owe("a", "processing")
    scene.outbox.owe("a", "completed")
    async with running(scene):
        assert len(scene.receiver.came) == 1
        await scene.clock.advance(0.99)
        assert len(scene.receiver.came) == 1
        await scene.clock.advance(0.01)
        assert len(scene.receiver.came) == 2
        await scene.clock.advance(2)
        assert scene.outbox.struck == [1, 2]
    assert scene.receiver.came[-1] == ("a", "completed", 0)


async def test_processing_is_given_up_and_the_last_word_still_arrives() -> None:
    scene = Scene(lambda r: Retry(error="e") if r.status == "processing" else Delivered())
    scene.outbox.owe("a", "processing")
    scene.outbox.owe("a", "completed")
    async with running(scene):
        await scene.clock.advance(10)
        assert scene.outbox.dead == [(1, "e, tried 3 times")]
        assert scene.outbox.struck == [2]


async def test_a_job_that_cannot_be_told_does_not_hold_up_others() -> None:
    never = asyncio.Event()

    async def silence() -> Verdict:
        await never.wait()
        return Delivered()

    scene = Scene(lambda row: silence() if row.job_id == "slow" else Delivered())
    scene.outbox.owe("slow")
    scene.outbox.owe("quick")
    async with running(scene):
        assert scene.outbox.struck == [2]
        scene.outbox.owe("later")
        await scene.clock.advance(1)
        assert scene.outbox.struck == [2, 3]
        assert [name for name, _, _ in scene.receiver.came].count("slow") == 1
        never.set()
        await scene.clock.advance(0)
        assert scene.outbox.struck == [2, 3, 1]


async def test_only_so_many_are_under_way_together() -> None:
    gate = asyncio.Event()

    async def wait() -> Verdict:
        await gate.wait()
        return Delivered()

    scene = Scene(lambda _: wait())
    for number in range(3 * AT_ONCE):
        scene.outbox.owe(f"job-{number}")
    async with running(scene):
        await scene.clock.advance(5)
        assert len(scene.receiver.came) == AT_ONCE
        gate.set()
        await scene.clock.advance(0)
        assert len(scene.outbox.struck) == 3 * AT_ONCE
    assert scene.receiver.most_at_once == AT_ONCE


async def test_refused_keys_are_known_until_a_receiver_takes_them(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answers: list[Verdict] = [Parked(error="status 401"), Retry(error="e"), Delivered()]
    scene = Scene(lambda _: answers.pop(0))
    scene.outbox.owe("a")
    with caplog.at_level(logging.INFO):
        async with running(scene):
            assert scene.refused()
            await scene.clock.advance(299)
            assert len(scene.receiver.came) == 1
            await scene.clock.advance(1)
            assert len(scene.receiver.came) == 2
            assert scene.refused()
            await scene.clock.advance(2)
            assert not scene.refused()
    actions = [vars(record)["action"] for record in caplog.records]
    assert actions == [
        "callbacks_refused",
        "callback_postponed",
        "callback_postponed",
        "callback_delivered",
    ]


async def test_a_final_refusal_is_kept_among_the_dead() -> None:
    scene = Scene(lambda _: Final(reason="status 422"))
    scene.outbox.owe("a")
    async with running(scene):
        assert scene.outbox.dead == [(1, "status 422")]


async def test_a_processing_that_is_of_no_use_is_told_on() -> None:
    scene = Scene(lambda _: Delivered(skipped=True))
    scene.outbox.owe("a", "processing")
    scene.outbox.owe("b", "completed")
    async with running(scene):
        assert scene.outbox.struck == [1, 2]
    assert scene.skipped == ["a"]


async def test_an_outbox_that_cannot_be_read_is_asked_again() -> None:
    scene = Scene(lambda _: Delivered())
    scene.outbox.owe("a")
    scene.outbox.broken = 2
    async with running(scene):
        assert scene.receiver.came == []
        await scene.clock.advance(2)
        assert scene.receiver.came == []
        await scene.clock.advance(2)
        assert scene.outbox.struck == [1]


async def test_an_accepted_callback_is_written_down_without_sending_it_again() -> None:
    scene = Scene(lambda _: Delivered())
    scene.outbox.owe("a")

    def answer(_: Row | ProgressRow) -> Verdict:
        scene.outbox.broken = 1
        return Delivered()

    scene.receiver._answer = answer
    async with running(scene):
        assert scene.outbox.struck == []
        await scene.clock.advance(2)
        assert scene.outbox.struck == [1]
    assert len(scene.receiver.came) == 1


async def test_at_the_end_each_row_that_is_due_is_tried_once_more() -> None:
    scene = Scene(lambda row: Delivered() if row.job_id == "a" else Retry(error="e"))
    async with running(scene):
        for job in ("a", "b"):
            scene.outbox.owe(job, "processing")
            scene.outbox.owe(job, "completed")
        scene.stop.set()
        await scene.clock.advance(0)
    assert scene.outbox.struck == [1, 2]
    assert scene.receiver.came == [
        ("a", "processing", 0),
        ("b", "processing", 0),
        ("a", "completed", 0),
    ]


async def test_the_end_waits_for_what_is_under_way_but_for_no_outbox() -> None:
    gate = asyncio.Event()

    async def wait() -> Verdict:
        await gate.wait()
        return Delivered()

    scene = Scene(lambda _: wait())
    scene.outbox.owe("a")
    task = asyncio.create_task(scene.pump.run(scene.stop))
    await scene.clock.advance(0)
    scene.stop.set()
    await scene.clock.advance(0)
    assert not task.done()
    gate.set()
    await task
    assert scene.outbox.struck == [1]
    scene.outbox.broken = 1
    await scene.pump.run(scene.stop)


async def test_a_cancelled_pump_leaves_nothing_running() -> None:
    scene = Scene(lambda _: _forever())
    scene.outbox.owe("a")
    task = asyncio.create_task(scene.pump.run(scene.stop))
    await scene.clock.advance(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert scene.receiver.under_way == {"a": 0}
    assert scene.outbox.struck == []


async def test_a_bug_in_the_sender_is_not_hidden() -> None:
    def broken(_: Row | ProgressRow) -> Verdict:
        raise RuntimeError("bug")

    scene = Scene(broken)
    scene.outbox.owe("a")
    with pytest.raises(RuntimeError, match="bug"):
        await scene.pump.run(scene.stop)


async def _forever() -> Verdict:
    await asyncio.Event().wait()
    return Delivered()


async def test_progress_is_told_seldom_and_between_processing_and_the_end() -> None:
    """K-10: at least 15 s apart, never before `processing` is settled, never after the end."""
    scene = Scene(lambda _: Delivered())

    def tell() -> None:
        scene.pump.tell_progress("a", lambda: b"{}")

    tell()
    async with running(scene):
        tell()
        await scene.clock.advance(20)
        assert scene.receiver.came == []
        scene.outbox.owe("a", "processing")
        scene.pump.kick()
        await scene.clock.advance(14)
        tell()
        await scene.clock.advance(0)
        assert len(scene.receiver.came) == 1
        await scene.clock.advance(1)
        for _ in range(3):
            tell()
            await scene.clock.advance(0)
        assert len(scene.receiver.came) == 2
        await scene.clock.advance(15)
        tell()
        await scene.clock.advance(0)
        scene.outbox.owe("a", "completed")
        scene.pump.kick()
        await scene.clock.advance(60)
        tell()
        await scene.clock.advance(0)
    assert [status for _, status, _ in scene.receiver.came] == ["processing"] * 3 + ["completed"]


async def test_the_end_waits_for_a_progress_callback_that_is_under_way() -> None:
    """K-10: strictly in order within a job."""
    answered = asyncio.Event()

    async def answer(row: Row | ProgressRow) -> Verdict:
        if row.body == b"progress":
            await answered.wait()
        return Delivered()

    scene = Scene(answer)
    async with running(scene):
        scene.outbox.owe("a", "processing")
        scene.pump.kick()
        await scene.clock.advance(15)
        scene.pump.tell_progress("a", lambda: b"progress")
        await scene.clock.advance(0)
        scene.outbox.owe("a", "completed")
        scene.pump.kick()
        await scene.clock.advance(5)
        assert scene.outbox.struck == [1]
        answered.set()
        await scene.clock.advance(1)
        assert scene.outbox.struck == [1, 2]


async def test_progress_that_is_refused_is_not_tried_again() -> None:
    """K-10: nothing is owed for it."""
    scene = Scene(lambda row: Delivered() if row.body == b"{}" else Retry(error="status 503"))
    async with running(scene):
        scene.outbox.owe("a", "processing")
        scene.pump.kick()
        await scene.clock.advance(15)
        scene.pump.tell_progress("a", lambda: b"progress")
        await scene.clock.advance(200)
    assert len(scene.receiver.came) == 2
    assert scene.outbox.dead == []


async def test_a_job_without_a_row_counts_as_told_where_none_is_found() -> None:
    """J-2: also its `processing`, which does not say what type of job it is."""
    scene = Scene(lambda _: Retry(error="status 404", at_most=3))
    scene.pump.expect_no_row("chat")
    async with running(scene):
        scene.outbox.owe("chat", "processing")
        scene.outbox.owe("image", "processing")
        scene.pump.kick()
        await scene.clock.advance(30)
    assert scene.outbox.struck == [1]
    assert [number for number, _ in scene.outbox.dead] == [2]
