"""The crash test of the port `Queue`: killed before and after every call of a whole job.

`python -m ourvidz_worker.testing.crash_queue NAME FOLDER [URL [TOKEN]]` lives one job's life on the
registered queue NAME in a child process that ends at its n-th moment, for every n; then opens the
store again and checks that nothing was lost, doubled or half written. A server at URL must be
empty; `{}` in URL and TOKEN stands for the number of a database, another one for each life. It
prints the number of crashes, and ends with a traceback at the first broken promise.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from itertools import count
from pathlib import Path
from typing import TypeVar

from ourvidz_worker.clock import Clock
from ourvidz_worker.domain.job import TERMINAL, Job, Status
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue import JobRecord, QueueSettings, Settlement, Store, make_queue
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.queue_bench import TTL_S, Make

CRASHED = 77

JOB = Job(
    id="job",
    type="sdxl_image_fast",
    user_id="ann",
    lane=Lane.IMAGE,
    priority=PriorityClass.NORMAL,
    payload=b'{"id":"job"}',
    submitted_at=1.0,
)
END = Settlement(
    status=Status.COMPLETED, receipt=Receipt(job_id="job"), facts={"steps": 15}, callback=b"2"
)
TOLD = [("queued", b"0"), ("processing", b"1"), ("completed", b"2")]

T = TypeVar("T")
Tick = Callable[[], None]

MakeArmed = Callable[[Path, Clock, Tick], Store]
"""Builds a store that calls the tick at every moment of its own work."""


def main(arguments: list[str]) -> int:
    """Crash at every moment in turn; the exit code."""
    name, folder, *server = arguments
    crashes = crash_everywhere(maker(name, *server), Path(folder))
    sys.stdout.write(f"{crashes}\n")
    return 0


def maker(name: str, url: str = "", token: str = "") -> Make:
    """What builds the queue `name` on a state folder that is named by the number of its life."""

    def make(state: Path, clock: Clock) -> Store:
        database = str(1 + int(state.name))
        settings = QueueSettings(
            state_dir=state,
            url=url.replace("{}", database),
            token=token.replace("{}", database),
            server_time=False,
        )
        return make_queue(name, settings, clock)

    return make


def crash_everywhere(make: Make, folder: Path, *, make_armed: MakeArmed | None = None) -> int:
    """Crash a life at each of its moments, check what each leaves; return how many there were.

    The moments are before and after each call of the port, or those of a store built armed. Forks:
    call it in a process of one thread.
    """
    crashes = 0
    while _crash(make, folder / str(crashes), crashes, make_armed):
        crashes += 1
    return crashes


def _crash(make: Make, folder: Path, moment: int, make_armed: MakeArmed | None) -> bool:
    """Live until `moment` and look at what is left; False when the job ended before it."""
    child = os.fork()
    if child == 0:
        tick = _bomb(moment)
        if make_armed is None:
            asyncio.run(_live(make(folder, FakeClock()), folder, tick))
        else:
            asyncio.run(_live(make_armed(folder, FakeClock(), tick), folder, lambda: None))
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code not in {0, CRASHED}:
        raise AssertionError(f"the life ended with {code} at moment {moment}")
    asyncio.run(_recover(make, folder, _promised(folder)))
    return code == CRASHED


def _bomb(moment: int) -> Tick:
    """A tick that ends the process when it was called `moment` times before."""
    moments = count()

    def tick() -> None:
        if next(moments) == moment:
            os._exit(CRASHED)

    return tick


async def _live(store: Store, folder: Path, tick: Tick) -> None:
    """One whole job, a tick before and after each call; what was answered is witnessed."""

    async def step(work: Awaitable[T], word: str = "") -> T:
        tick()
        answer = await work
        if word:
            _witness(folder, word)
        tick()
        return answer

    await step(store.open())
    await step(store.submit(JOB, callback=b"0"), "accepted")
    (first,) = await step(store.lease("pod", {Lane.IMAGE: 1}, TTL_S))
    await step(store.requeue(first.token, burn=True))
    (lease,) = await step(store.lease("pod", {Lane.IMAGE: 1}, TTL_S))
    await step(store.start(lease.token, callback=b"1"))
    await step(store.renew([lease.token], TTL_S))
    await step(store.settle(lease.token, END), "settled")
    for _ in TOLD:
        (row,) = await step(store.due(9))
        _witness(folder, f"told:{row.status}")
        await step(store.delivered(row), f"struck:{row.status}")
    await step(store.close())


async def _recover(make: Make, folder: Path, promised: list[str]) -> None:
    """A second pod ends the job; what was promised before the crash must hold (I1, I7, I8)."""
    store = make(folder, FakeClock())
    await store.open()
    record = await store.find(JOB.id)
    if "accepted" in promised:
        assert record is not None, "an accepted job is gone"
    if "settled" in promised:
        assert record is not None
        assert record.status is Status.COMPLETED
    if record is not None:
        _check_whole(record)
        assert record.tries <= 2
    struck = [word.partition(":")[2] for word in promised if word.startswith("struck:")]
    await store.submit(JOB, callback=b"0")
    for lease in await store.lease("pod", {Lane.IMAGE: 9}, TTL_S):
        await store.start(lease.token, callback=b"1")
        await store.settle(lease.token, END)
    told = []
    while rows := await store.due(9):
        (row,) = rows
        told.append((row.status, row.body))
        await store.delivered(row)
    assert told == TOLD[len(TOLD) - len(told) :], "callbacks out of order"
    assert not {status for status, _ in told} & set(struck), "a struck callback came again"
    assert len(told) + len({word for word in promised if word.startswith("told:")}) >= len(TOLD)
    ended = await store.find(JOB.id)
    assert ended is not None
    assert ended.status is Status.COMPLETED
    await store.close()


def _check_whole(record: JobRecord) -> None:
    """A job has all of its end or nothing of it."""
    ended = record.status in TERMINAL
    assert record.status in {Status.WAITING, Status.COMPLETED}, "a lease outlived its pod"
    assert (record.receipt == END.receipt) == ended
    assert (record.facts == END.facts) == ended
    assert (record.settled_at is not None) == ended


def _witness(folder: Path, word: str) -> None:
    """Write a word that a crash cannot take back; the store has no part in it."""
    with (folder / "witness").open("a", encoding="utf-8") as lines:
        lines.write(f"{word}\n")


def _promised(folder: Path) -> list[str]:
    witness = folder / "witness"
    return witness.read_text(encoding="utf-8").split() if witness.exists() else []


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
