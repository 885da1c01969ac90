"""The main loop, its threads moved by hand and its clock a fake one."""

import logging
from pathlib import Path
from queue import SimpleQueue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.worker.worker_bench import OUTLINE, Bench
from tests.unit.worker.worker_parts import (
    PICTURE,
    TALK,
    ScriptedEngine,
    fake_engine,
    lose_engine,
    make_run,
    only,
)

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.domain.messages import (
    Beat,
    Cancel,
    Computed,
    Describe,
    Description,
    Drain,
    Failed,
    Finished,
    LoadFailed,
    Loading,
    Ready,
    Report,
    Stopped,
    Trim,
)
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.worker.main import DRAINED, ENGINE_LOST, LOAD_FAILED, POD_LOST, Event, Worker
from ourvidz_worker.worker.pipe import PodLost
from ourvidz_worker.worker.threads import real_threads


def test_it_answers_while_it_loads_and_then_is_ready() -> None:
    bench = Bench(ready=False)
    bench.settle()
    bench.take(Describe())
    bench.clock.jump(1.0)
    bench.settle()
    assert only(bench.sent, Description) == [OUTLINE]
    assert [beat.loading for beat in only(bench.sent, Beat)] == [True, True]
    bench.hands.load.work()
    bench.settle()
    assert [report.part for report in only(bench.sent, Loading)][:2] == ["engine", "text_encoder"]
    (ready,) = only(bench.sent, Ready)
    assert ready.description == bench.engine.describe()
    assert bench.hands.capacities == [2]
    bench.take(Describe())
    assert only(bench.sent, Description)[-1] == bench.engine.describe()


def test_it_gives_caches_back_when_it_is_told_to(tmp_path: Path) -> None:
    """M-4, M-5: by command alone, never on the way of an attempt."""
    bench = Bench()
    bench.take(make_run(tmp_path))
    bench.compute()
    assert bench.trimmed == []
    bench.take(Trim())
    assert bench.trimmed == [True]


def test_it_beats_every_second_with_its_steps(tmp_path: Path) -> None:
    bench = Bench()
    bench.take(make_run(tmp_path))
    bench.compute()
    for _ in range(4):
        bench.clock.jump(0.5)
        bench.settle()
    beats = only(bench.sent, Beat)
    assert len(beats) == 3
    assert [beat.loading for beat in beats] == [True, False, False]
    assert [beat.steps for beat in beats] == [0, 6, 6]  # encode 1, denoise 4, decode 1
    assert beats[-1].rss_bytes > 1_000_000
    bench.encode()
    bench.clock.jump(1.0)
    bench.settle()
    assert only(bench.sent, Beat)[-1].steps == 6


@pytest.mark.parametrize("error", [ModelLoadFailed("No such folder."), RuntimeError("/a/path")])
def test_a_load_that_fails_is_told_and_ends_the_worker(error: Exception) -> None:
    class Broken(ScriptedEngine):
        def load(self, tell: object) -> None:
            raise error

    bench = Bench(Broken())
    (told,) = only(bench.sent, LoadFailed)
    assert told.code == "MODEL_LOAD_ERROR"
    assert (told.sentence == "No such folder.") == isinstance(error, ModelLoadFailed)
    assert "path" not in told.sentence
    assert bench.worker.exit_code == LOAD_FAILED


def test_the_next_run_computes_while_the_files_of_the_last_are_written(tmp_path: Path) -> None:
    bench = Bench()
    bench.take(make_run(tmp_path, "a1"))
    bench.take(make_run(tmp_path, "a2"))
    bench.compute(1)
    assert only(bench.sent, Computed) == [Computed(attempt_id="a1")]
    assert bench.outcomes() == []
    bench.compute(1)
    assert only(bench.sent, Computed)[-1] == Computed(attempt_id="a2")
    bench.encode()
    assert [type(each) for each in bench.outcomes()] == [Finished, Finished]
    assert (tmp_path / "a1" / "0.png").exists()


def test_every_attempt_is_logged_from_its_beginning_to_its_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """O-8: however many come at once, and however soon they end."""
    bench = Bench()
    with caplog.at_level(logging.INFO):
        for name in ("a1", "a2"):
            bench.take(make_run(tmp_path, name, TALK))
        bench.compute()
    told = [
        (vars(record)["attempt_id"], record.msg)
        for record in caplog.records
        if hasattr(record, "attempt_id")
    ]
    assert sorted(told[:2]) == [("a1", "attempt accepted"), ("a2", "attempt accepted")]
    assert sorted(told[2:]) == [("a1", "attempt ended"), ("a2", "attempt ended")]


def test_a_text_ends_in_the_thread_that_computed_it(tmp_path: Path) -> None:
    """T-9: many texts at once never wait for the two threads that write files."""
    bench = Bench()
    bench.take(make_run(tmp_path, "a1", TALK))
    bench.compute()
    assert [type(each) for each in bench.outcomes()] == [Finished]
    assert only(bench.sent, Computed) == []


@pytest.mark.parametrize("state", ["loading", "draining"])
def test_a_run_that_cannot_be_taken_fails_at_once(state: str, tmp_path: Path) -> None:
    bench = Bench(ready=state == "draining")
    if state == "draining":
        bench.take(make_run(tmp_path, "a0"))
        bench.take(Drain(grace_s=10.0))
    run = make_run(tmp_path)
    (Path(run.spool) / "reference.png").write_bytes(b"x")
    bench.take(run)
    (outcome,) = bench.outcomes()
    assert isinstance(outcome, Failed)
    assert (outcome.code, outcome.retryable) == ("WORKER_UNAVAILABLE", True)
    assert list(Path(run.spool).iterdir()) == []


def test_a_run_that_comes_twice_has_one_outcome(tmp_path: Path) -> None:
    bench = Bench()
    run = make_run(tmp_path)
    bench.take(run)
    bench.take(run)
    bench.compute()
    bench.encode()
    assert [type(each) for each in bench.outcomes()] == [Finished]


@pytest.mark.parametrize("reason", ["cancelled", "deadline"])
@pytest.mark.parametrize("when", ["queued", "computed", "encoded", "ended", "unknown"])
def test_a_cancel_finds_the_attempt_wherever_it_is(when: str, reason: str, tmp_path: Path) -> None:
    bench = Bench()
    run = make_run(tmp_path)
    (Path(run.spool) / "reference.png").write_bytes(b"x")
    bench.take(run)
    cancel = Cancel(attempt_id="a0" if when == "unknown" else "a1", reason=reason)
    if when in {"queued", "unknown"}:
        bench.take(cancel)
    bench.compute()
    if when == "computed":
        bench.take(cancel)
    bench.hands.encode.work()
    if when == "encoded":
        bench.worker.take(cancel)
    bench.settle()
    if when == "ended":
        bench.take(cancel)
    (outcome,) = bench.outcomes()
    if when in {"ended", "unknown", "encoded"}:  # encoded: the files were ready first
        assert isinstance(outcome, Finished)
        return
    expected = Stopped if reason == "cancelled" else Failed
    assert isinstance(outcome, expected)
    assert list(Path(run.spool).iterdir()) == []


def test_a_cancel_during_encoding_leaves_no_files(tmp_path: Path) -> None:
    def write(spool: Path) -> None:
        (spool / "0.png").write_bytes(b"half")
        bench.worker.take(Cancel(attempt_id="a1"))

    bench = Bench(ScriptedEngine(finish=write))
    run = make_run(tmp_path)
    bench.take(run)
    bench.compute()
    bench.encode()
    assert bench.outcomes() == [Stopped(attempt_id="a1", reason="cancelled")]
    assert list(Path(run.spool).iterdir()) == []


def test_a_failure_leaves_no_files_and_the_next_run_is_unaffected(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    bench = Bench(fake_engine(fail_at_step=2, fault_marker=str(marker)))
    runs = [make_run(tmp_path, "a1"), make_run(tmp_path, "a2")]
    for run in runs:
        (Path(run.spool) / "reference.png").write_bytes(b"x")
        bench.take(run)
    bench.compute()
    bench.encode()
    assert [type(each) for each in bench.outcomes()] == [Failed, Finished]
    assert list(Path(runs[0].spool).iterdir()) == []
    assert (Path(runs[1].spool) / "0.png").exists()


def test_a_drain_waits_for_its_grace_and_then_stops_the_rest(tmp_path: Path) -> None:
    bench = Bench()
    for name in ("a1", "a2", "a3"):
        bench.take(make_run(tmp_path, name))
    bench.take(Drain(grace_s=5.0))
    bench.compute(1)
    bench.encode()
    assert [type(each) for each in bench.outcomes()] == [Finished]
    assert bench.worker.exit_code is None
    bench.clock.jump(5.0)
    bench.settle()
    assert bench.outcomes()[1:] == [
        Stopped(attempt_id="a2", reason="draining"),
        Stopped(attempt_id="a3", reason="draining"),
    ]
    assert bench.worker.exit_code == DRAINED


def test_an_idle_worker_drains_at_once_and_a_second_drain_shortens_the_first(
    tmp_path: Path,
) -> None:
    idle = Bench()
    idle.take(Drain(grace_s=100.0))
    assert idle.worker.exit_code == DRAINED
    loading = Bench(ready=False)
    loading.take(Drain(grace_s=100.0))
    assert loading.worker.exit_code == DRAINED
    busy = Bench()
    busy.take(make_run(tmp_path))
    busy.take(Drain(grace_s=100.0))
    busy.take(Drain(grace_s=0.0))
    assert busy.outcomes() == [Stopped(attempt_id="a1", reason="draining")]


def test_patience_ends_at_the_next_beat_or_the_end_of_the_grace(tmp_path: Path) -> None:
    bench = Bench()
    assert bench.worker.patience_s() == pytest.approx(1.0)
    bench.clock.jump(0.75)
    assert bench.worker.patience_s() == pytest.approx(0.25)
    bench.take(make_run(tmp_path))
    bench.take(Drain(grace_s=0.1))
    assert bench.worker.patience_s() == pytest.approx(0.1)


def test_without_its_engine_s_process_a_worker_ends(tmp_path: Path) -> None:
    """Whoever waits is told by the end of the process, as of any other worker that was lost."""
    bench = Bench(ScriptedEngine(stage=lose_engine))
    bench.take(make_run(tmp_path))
    bench.compute()
    assert bench.worker.exit_code == ENGINE_LOST
    assert bench.outcomes() == []


def test_without_its_pod_a_worker_ends(tmp_path: Path) -> None:
    bench = Bench()
    bench.take(make_run(tmp_path))
    bench.take(PodLost(reason="gone"))
    assert bench.worker.exit_code == POD_LOST


def test_it_serves_from_start_to_drain_and_closes_its_engine() -> None:
    engine, sent, inbox = ScriptedEngine(), list[Report](), SimpleQueue[Event]()

    def send(report: Report) -> None:
        sent.append(report)
        if isinstance(report, Ready):
            inbox.put(Drain(grace_s=1.0))

    worker = Worker(
        lambda: engine,
        OUTLINE,
        send=send,
        inbox=inbox,
        clock=FakeClock(),
        threads=real_threads(),
    )
    assert worker.serve() == DRAINED
    assert engine.closed
    assert [type(report) for report in sent if not isinstance(report, Beat)] == [
        Loading,
        Loading,
        Ready,
    ]


ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("run"), st.integers(0, 4)),
        st.tuples(st.just("cancel"), st.integers(0, 4)),
        st.tuples(st.just("compute"), st.integers(1, 2)),
        st.tuples(st.just("encode"), st.integers(1, 2)),
        st.tuples(st.just("event"), st.just(1)),
        st.tuples(st.just("drain"), st.integers(0, 3)),
        st.tuples(st.just("time"), st.integers(1, 3)),
    ),
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(acts=ACTS, fail_at=st.sampled_from([0, 0, 2]))
def test_whatever_happens_each_run_has_one_outcome(
    acts: list[tuple[str, int]],
    fail_at: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("acts")
    bench = Bench(fake_engine(fail_at_step=fail_at, fail_code="OOM_ERROR"))
    ran: list[str] = []
    for act, number in acts:
        if act == "run":
            name = f"a{len(ran)}"
            ran.append(name)
            bench.worker.take(make_run(folder, name, TALK if number % 2 else PICTURE))
        elif act == "cancel":
            bench.worker.take(Cancel(attempt_id=f"a{number}"))
        elif act == "drain":
            bench.worker.take(Drain(grace_s=float(number)))
        else:
            _let(bench, act, number)
    for _ in range(3):
        _let(bench, "compute", 100)
        bench.settle()
        _let(bench, "encode", 100)
        bench.settle()
    assert sorted(each.attempt_id for each in bench.outcomes()) == sorted(ran)
    kept = {each.attempt_id for each in bench.outcomes() if isinstance(each, Finished)}
    for name in set(ran) - kept:
        assert list((folder / name).iterdir()) == []


def _let(bench: Bench, act: str, number: int) -> None:
    """Let a thread, time or one event move on, without settling the rest."""
    if act == "compute":
        bench.hands.compute.work(number)
    elif act == "encode":
        bench.hands.encode.work(number)
    elif act == "time":
        bench.clock.jump(float(number))
        bench.worker.tick()
    elif not bench.inbox.empty():
        bench.worker.take(bench.inbox.get_nowait())
