"""The conformance suite of the port `Queue`: random work on a store and on its model.

`run_machine(make, folder)` compares them after every step. With it go the plain promises in
`queue_promises.py` and the crash test in `crash_queue.py`; a store passes when all three do.
"""

import asyncio
import tempfile
from collections.abc import Awaitable, Iterator
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from ourvidz_worker.domain.artifact import Asset
from ourvidz_worker.domain.errors import Conflict, LeaseLost
from ourvidz_worker.domain.health import Depth
from ourvidz_worker.domain.job import TERMINAL, Job, Status, Token
from ourvidz_worker.domain.job_types import Media
from ourvidz_worker.domain.lane import Lane, PriorityClass
from ourvidz_worker.domain.receipt import Receipt
from ourvidz_worker.queue import CallbackRow, DeadLetter, JobRecord, Settlement
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.queue_bench import Make, unnamed
from ourvidz_worker.testing.queue_model import ModelRow, QueueModel

T = TypeVar("T")
Pick = tuple[int, int]
Step = tuple[str, dict[str, Any]]


class Deed(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod does with a lease: start, then end it, give it back after seconds, or hold it."""

    starts: bool
    body: bytes | None
    end: Settlement | float | None
    burn: bool


ALL = 10_000
MOST_RESTARTS = 3
LAST_SEED = 2_147_483_647 - 6

BODIES = st.sampled_from([None, b"{}", b'{"status":"told"}'])
SECONDS = st.sampled_from([0.0, 1.0, 9.0, 10.0, 60.0])
TERMS = st.sampled_from([10.0, 60.0])
LANES = (Lane.IMAGE, Lane.CHAT, Lane.ADMIN)
WANTED = st.dictionaries(st.sampled_from(LANES), st.integers(1, 3), min_size=1)
PICK = st.tuples(st.integers(0, 3), st.integers(0, 63))
"""Which of the things there are: three in four times one that is current, then its place."""

PICKS = st.lists(PICK, min_size=1, max_size=4)

JOBS = st.builds(
    Job,
    id=st.just(""),
    type=st.just("sdxl_image_fast"),
    lane=st.sampled_from([Lane.IMAGE, Lane.IMAGE, *LANES]),
    priority=st.sampled_from([*PriorityClass, PriorityClass.NORMAL, PriorityClass.NORMAL]),
    user_id=st.sampled_from(["ann", "ben", "cyd"]),
    payload=st.just(b""),
    submitted_at=st.just(0.0),
)
ENDS = st.builds(
    Settlement,
    status=st.sampled_from([Status.COMPLETED, Status.FAILED, Status.CANCELLED]),
    assets=st.sampled_from([(), (Asset(index=0, media=Media.IMAGE, key="u/j/0.png"),)]),
    receipt=st.sampled_from([None, Receipt(job_id="j", attempt=1, seed=7)]),
    code=st.sampled_from([None, "OOM_ERROR"]),
    sentence=st.sampled_from([None, "It failed."]),
    facts=st.sampled_from([{}, {"steps": 15, "guidance_scale": 6.0, "fallback_used": False}]),
    callback=BODIES,
    dead=st.booleans(),
)
DEEDS = st.builds(
    Deed,
    starts=st.booleans(),
    body=BODIES,
    end=st.one_of(st.none(), ENDS, st.sampled_from([0.0, 0.0, 9.0])),
    burn=st.booleans(),
)
TELLINGS = st.sampled_from(["delivered", "delivered", "postpone", "give_up"])


WORDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "submit": {"jobs": st.lists(JOBS, min_size=1, max_size=3), "body": BODIES},
    "submit_again": {"pick": PICK, "payload": st.sampled_from([None, b"other"]), "body": BODIES},
    "lease": {"wanted": WANTED, "ttl_s": TERMS, "deeds": st.lists(DEEDS, max_size=4)},
    "work": {"picks": PICKS, "deed": DEEDS},
    "renew": {"picks": PICKS, "ttl_s": TERMS},
    "cancel": {"pick": PICK, "body": BODIES},
    "advance": {"seconds": SECONDS, "sweep": st.booleans()},
    "tell": {"picks": PICKS, "delay_s": SECONDS, "how": TELLINGS},
    "reopen": {},
}
SHARES = {"submit": 3, "lease": 8, "work": 3, "cancel": 2, "advance": 5, "tell": 3}
"""How often a step is drawn, where not once: a queue shows its faults where leases, time and
restarts meet. Steps are drawn, not rules, since the machine leaves out some rules in each life."""

STEPS = st.sampled_from([name for name in WORDS for _ in range(SHARES.get(name, 1))]).flatmap(
    lambda name: st.tuples(st.just(name), st.fixed_dictionaries(WORDS[name]))
)


def run_machine(make: Make, folder: Path, *, examples: int = 60, steps: int = 30) -> int:
    """Run `examples` random lives of at most `steps` steps; the same ones every time.

    Each has a folder of its own below `folder` while it lasts. Returns how often store and model
    were compared. Raises `AssertionError` with the shortest life in which they differ.
    """
    comparisons = count()

    class Machine(QueueMachine):
        """The machine on the store under test."""

        def __init__(self) -> None:
            super().__init__(make, folder, comparisons)

    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(Machine, settings=chosen)
    return next(comparisons)


class QueueMachine(RuleBasedStateMachine):
    """Every verb of the port in any order, with tokens and rows that may be out of date."""

    def __init__(self, make: Make, folder: Path, comparisons: Iterator[int]) -> None:
        """A store in a new folder below `folder`, and an empty model."""
        super().__init__()
        self._make = make
        self._clock = FakeClock()
        self._model = QueueModel(self._clock)
        self._comparisons = comparisons
        self._home = tempfile.TemporaryDirectory(dir=folder)
        self._folder = Path(self._home.name)
        self._runner = asyncio.Runner()
        self._store = make(self._folder, self._clock)
        self._last_fence = 0
        self._restarts = 0
        self._tokens: list[Token] = []
        self._rows: list[CallbackRow] = []
        self._ended: dict[str, JobRecord] = {}

    @initialize(jobs=st.lists(JOBS, min_size=3, max_size=9))
    def open(self, jobs: list[Job]) -> None:
        """A fresh store opens empty and takes the first jobs."""
        self._do(self._store.open())
        assert self._do(self._store.recent()) == []
        self.submit(jobs, None)

    @rule(step=STEPS)
    def take(self, step: Step) -> None:
        """One verb of the port, or several."""
        name, words = step
        getattr(self, name)(**words)

    def teardown(self) -> None:
        """The store closes."""
        self._do(self._store.close())
        self._runner.close()
        self._home.cleanup()

    def submit(self, jobs: list[Job], body: bytes | None) -> None:
        """New jobs are accepted."""
        for job in jobs:
            number = len(self._model.jobs)
            named = msgspec.structs.replace(job, id=f"job-{number}", payload=b"%d" % number)
            assert self._do(self._store.submit(named, callback=body)) == "accepted"
            assert self._model.submit(named, body) == "accepted"

    def submit_again(self, pick: Pick, payload: bytes | None, body: bytes | None) -> None:
        """A known id is found or refused, whatever became of its job (I7)."""
        job = self._job(pick)
        twin = msgspec.structs.replace(job, payload=payload or job.payload, submitted_at=7.0)
        try:
            outcome: str = self._do(self._store.submit(twin, callback=body))
        except Conflict:
            outcome = "conflict"
        assert outcome == self._model.submit(twin, body)

    def lease(self, wanted: dict[Lane, int], ttl_s: float, deeds: list[Deed]) -> None:
        """Exactly the jobs that the rules of order name are leased; some are worked on (I4, I6)."""
        leases = self._do(self._store.lease("pod", wanted, ttl_s))
        expected = self._model.lease(wanted, ttl_s)
        assert [lease.job for lease in leases] == [kept.job for kept in expected]
        for lease, kept in zip(leases, expected, strict=True):
            assert lease.token.job_id == lease.job.id
            assert lease.token.fence > self._last_fence, "a fence did not grow (I3)"
            assert lease.tries == kept.tries
            assert lease.exhausted == self._model.exhausted(lease.job.id)
            assert 1 <= lease.seed <= LAST_SEED
            assert kept.seed in {None, lease.seed}, "a second try draws another picture"
            self._last_fence = lease.token.fence
            self._model.learn(lease.job.id, lease.token, lease.seed)
            self._tokens.append(lease.token)
        for lease, deed in zip(leases, deeds, strict=False):
            self._work(lease.token, deed)

    def work(self, picks: list[Pick], deed: Deed) -> None:
        """Something is done with tokens that may be out of date (I3)."""
        for pick in picks:
            for token in _pick(pick, self._held(), self._tokens):
                self._work(token, deed)

    def renew(self, picks: list[Pick], ttl_s: float) -> None:
        """Leases that are ours are prolonged, others are not."""
        tokens = [t for pick in picks for t in _pick(pick, self._held(), self._tokens)]
        kept = self._do(self._store.renew(tokens, ttl_s))
        assert kept == [self._model.renew(token, ttl_s) for token in tokens]

    def cancel(self, pick: Pick, body: bytes | None) -> None:
        """A job is cancelled, or its holder is asked to."""
        job = self._job(pick)
        outcome = self._do(self._store.cancel(job.id, callback=body))
        assert outcome == self._model.cancel(job.id, body)

    def advance(self, seconds: float, sweep: bool) -> None:
        """Time passes and changes nothing by itself; a sweep gives back what has lapsed (I5)."""
        self._clock.jump(seconds)
        self.agrees()
        if sweep:
            assert self._do(self._store.sweep()) == self._model.sweep()

    def reopen(self) -> None:
        """The pod restarts on the same folder."""
        if self._restarts == MOST_RESTARTS:
            return
        self._restarts += 1
        self._do(self._store.close())
        self._store = self._make(self._folder, self._clock)
        self._do(self._store.open())
        self._model.reopen()

    def tell(self, picks: list[Pick], delay_s: float, how: str) -> None:
        """Callbacks are delivered, postponed or given up; one that is gone stays gone."""
        for pick in picks:
            owed = [row for row in self._rows if self._owed(row)]
            for row in _pick(pick, owed, self._rows):
                self._tell(row, delay_s, how)
                self.agrees()

    @invariant()
    def agrees(self) -> None:
        """The store reports what the model holds, whole (I1, I2, I3, I7, I8)."""
        next(self._comparisons)
        depths, records, owed, due, wait, letters = self._do(self._report())
        assert depths == self._model.depths()
        assert records == self._model.records()
        assert owed == len(self._model.rows)
        assert [_told(row) for row in due] == [_told(row) for row in self._model.due()]
        self._rows += [row for row in due if row not in self._rows]
        assert wait == self._next_due_in()
        assert unnamed(letters) == self._model.letters[::-1]
        for record in records:
            if record.status in TERMINAL:
                assert self._ended.setdefault(record.job.id, record) == record

    async def _report(self) -> "Report":
        store = self._store
        return await asyncio.gather(
            store.depths(),
            store.recent(limit=ALL),
            store.owed(),
            store.due(ALL),
            store.next_due_in(),
            store.dead(ALL),
        )

    def _next_due_in(self) -> float | None:
        heads = self._model.first_rows()
        return max(0.0, heads[0].due - self._clock.monotonic()) if heads else None

    def _owed(self, row: CallbackRow) -> ModelRow | None:
        """The model's row for a row handed out, or None when it is owed no more."""
        for kept in self._model.rows:
            if (kept.job_id, kept.status, kept.body) == (row.job_id, row.status, row.body):
                return kept
        return None

    def _job(self, pick: Pick) -> Job:
        jobs = [kept.job for kept in self._model.jobs.values()]
        live = [job for job in jobs if self._model.jobs[job.id].status not in TERMINAL]
        return _pick(pick, live, jobs)[0]

    def _held(self) -> list[Token]:
        return [token for token in self._tokens if self._model.holds(token)]

    def _work(self, token: Token, deed: Deed) -> None:
        store, model = self._store, self._model
        if deed.starts:
            done = self._attempt(store.start(token, callback=deed.body))
            assert done == model.start(token, deed.body)
        if isinstance(deed.end, Settlement):
            done = self._attempt(store.settle(token, deed.end))
            assert done == model.settle(token, deed.end)
        elif deed.end is not None:
            delay_s, burn = deed.end, deed.burn
            done = self._attempt(store.requeue(token, burn=burn, delay_s=delay_s))
            assert done == model.requeue(token, burn, delay_s)

    def _tell(self, row: CallbackRow, delay_s: float, how: str) -> None:
        kept = self._owed(row)
        if how == "delivered":
            self._do(self._store.delivered(row))
        elif how == "give_up":
            self._do(self._store.give_up(row, "refused"))
        else:
            self._do(self._store.postpone(row, delay_s, "HTTP 500"))
        if kept is not None and how == "postpone":
            self._model.postpone(kept, delay_s)
        elif kept is not None:
            self._model.strike(kept)

    def _attempt(self, work: Awaitable[None]) -> str:
        try:
            self._do(work)
        except LeaseLost:
            return "lost"
        return "ok"

    def _do(self, work: Awaitable[T]) -> T:
        return self._runner.run(_await(work))


Report = tuple[
    dict[Lane, Depth],
    list[JobRecord],
    int,
    list[CallbackRow],
    float | None,
    list[DeadLetter],
]


async def _await(work: Awaitable[T]) -> T:
    return await work


def _pick(pick: Pick, current: list[T], every: list[T]) -> list[T]:
    """The one thing picked, or none where there is none."""
    share, place = pick
    among = current if share and current else every
    return [among[place % len(among)]] if among else []


def _told(row: CallbackRow | ModelRow) -> tuple[str, str, bytes, int]:
    return row.job_id, row.status, row.body, row.tries
