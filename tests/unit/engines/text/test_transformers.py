"""The thread of the portable text engine: who runs, who waits, and how it ends."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
import torch

from ourvidz_worker.domain.errors import AttemptError, ConfigError, ModelLoadFailed, WorkerLost
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines import TextSettings, make_text_engine
from ourvidz_worker.engines.text.batch import Batch
from ourvidz_worker.engines.text.transformers import TransformersText
from ourvidz_worker.testing.text_reading import read_ready, read_some, read_whole
from ourvidz_worker.testing.tiny_models import build_qwen2

LONG = Sampling(max_tokens=400, temperature=0.0)
ENDLESS = Sampling(max_tokens=100_000, temperature=0.0)
"""Longer than any test; a tiny model has no bound of its own."""

SHORT = Sampling(max_tokens=5, temperature=0.0)
PROMPT = (5, 6, 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_qwen2(tmp_path_factory.mktemp("tiny") / "qwen", context=1024)


def loaded(folder: Path, *, capacity: int = 4, **options: int) -> TransformersText:
    settings = TextSettings(
        model=folder, ends=frozenset(), context=1024, capacity=capacity, options=options
    )
    engine = TransformersText(settings)
    engine.load(lambda part, fraction: None)
    return engine


@pytest.fixture
def engine(folder: Path) -> Iterator[TransformersText]:
    engine = loaded(folder)
    yield engine
    engine.close()


def test_texts_beyond_the_capacity_wait_in_their_order(engine: TransformersText) -> None:
    running = [engine.add(PROMPT, ENDLESS, seed) for seed in range(4)]
    first, second = (engine.add(PROMPT, ENDLESS, 9) for _ in range(2))
    for stream in running:
        read_some(stream)
    assert (first.read(0.0).tokens, second.read(0.0).tokens) == ((), ())
    running[2].cancel()
    assert read_some(first)
    assert second.read(0.0).tokens == ()
    running[0].cancel()
    assert read_some(second)


def test_texts_that_might_not_fit_together_wait_in_their_order(folder: Path) -> None:
    token_bytes = 2 * 2 * 2 * 8 * 4
    engine = loaded(folder, cache_bytes=token_bytes * 100_020)
    first = engine.add(PROMPT, ENDLESS, 0)
    second, large, last = (
        engine.add(prompt, asked, 0)
        for prompt, asked in ((PROMPT, SHORT), (tuple(range(300)), ENDLESS), (PROMPT, SHORT))
    )
    assert len(read_whole(second).ids) == 5, "100,003 and 8 tokens fit"
    read_some(first)
    assert large.read(0.0).tokens == last.read(0.0).tokens == ()
    first.cancel()
    assert read_some(large), "alone it may always try"
    assert last.read(0.0).tokens == (), "and nobody overtook it"
    large.cancel()
    assert len(read_whole(last).ids) == 5
    engine.close()


def test_a_text_that_waits_may_be_cancelled(engine: TransformersText) -> None:
    running = [engine.add(PROMPT, ENDLESS, seed) for seed in range(4)]
    waiting, late = engine.add(PROMPT, ENDLESS, 9), engine.add(PROMPT, SHORT, 9)
    waiting.cancel()
    running[0].cancel()
    assert len(read_whole(late).ids) == 5
    assert read_ready(waiting) == []


def test_a_cancelled_text_frees_its_memory_even_in_a_pause(folder: Path) -> None:
    engine = loaded(folder, prefix_bytes=0)
    stream = engine.add(PROMPT, ENDLESS, 0)
    read_some(stream)
    engine.pause()
    assert engine.footprint().cache_bytes > 0
    stream.cancel()
    read_ready(stream)
    engine.pause()  # returns when what was asked before is done
    assert engine.footprint().cache_bytes == 0
    engine.close()


def test_parking_ends_when_what_a_pause_holds_is_cancelled(engine: TransformersText) -> None:
    """Who parks hears of it, whoever comes first to the lock."""
    for _ in range(20):
        stream = engine.add(PROMPT, ENDLESS, 0)
        read_some(stream)
        engine.pause()
        parking = Thread(target=engine.park, daemon=True)
        parking.start()
        stream.cancel()
        parking.join(timeout=60.0)
        assert not parking.is_alive()
        engine.resume()
        engine.wake()


def test_parked_it_holds_its_weights_alone(engine: TransformersText) -> None:
    read_whole(engine.add(tuple(range(100)), SHORT, 0))
    held = engine.footprint()
    assert held.cache_bytes > 0
    engine.park()
    parked = engine.footprint()
    assert (parked.cache_bytes, parked.weights_bytes) == (0, held.weights_bytes)
    assert parked.host_bytes == 0, "on a processor the weights are where they were"


def test_a_text_that_is_added_while_it_is_parked_waits_for_it(engine: TransformersText) -> None:
    engine.park()
    stream = engine.add(PROMPT, SHORT, 0)
    assert stream.read(0.05).tokens == ()
    engine.wake()
    assert len(read_whole(stream).ids) == 5


def test_parking_waits_for_the_texts_that_run_and_lets_no_other_begin(
    engine: TransformersText,
) -> None:
    running = engine.add(PROMPT, LONG, 0)
    begun = read_some(running)
    parking = Thread(target=engine.park)
    parking.start()
    while not engine._is_leaving:
        begun += running.read(0.01).tokens
    late = engine.add(PROMPT, SHORT, 0)
    assert len(read_whole(running, begun).ids) == 400
    parking.join()
    assert not engine.footprint().resident
    assert late.read(0.0).tokens == ()
    engine.wake()
    assert len(read_whole(late).ids) == 5


def test_closing_ends_texts_that_run_and_that_wait(engine: TransformersText) -> None:
    streams = [engine.add(PROMPT, ENDLESS, seed) for seed in range(6)]
    read_some(streams[0])
    engine.close()
    for stream in streams:
        read_ready_until_lost(stream)
    assert engine.footprint().weights_bytes == 0
    with pytest.raises(WorkerLost):
        engine.add(PROMPT, SHORT, 0)
    engine.park()
    engine.wake()
    engine.close()


def read_ready_until_lost(stream: object) -> None:
    with pytest.raises(WorkerLost):
        read_whole(stream)  # type: ignore[arg-type]


def test_nothing_begins_before_it_is_loaded(folder: Path) -> None:
    engine = TransformersText(TextSettings(model=folder, ends=frozenset(), context=1024))
    assert not engine.footprint().resident
    with pytest.raises(WorkerLost):
        engine.add(PROMPT, SHORT, 0)
    engine.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_leaves_nobody_waiting(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = loaded(folder)
    stream = engine.add(PROMPT, ENDLESS, 0)
    read_some(stream)

    def break_down(batch: Batch) -> None:
        raise NotImplementedError("a fault")

    monkeypatch.setattr(Batch, "step", break_down)
    with pytest.raises(WorkerLost):
        read_whole(stream)
    with pytest.raises(WorkerLost):
        engine.add(PROMPT, SHORT, 0)
    engine.close()


def test_broken_weights_are_told_at_the_load(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = "ourvidz_worker.engines.text.causal.CausalModel.run"
    monkeypatch.setattr(run, lambda model, spans: torch.full((1, 320), float("nan")))
    with pytest.raises(ModelLoadFailed, match="left their range") as caught:
        loaded(folder)
    assert isinstance(caught.value.__cause__, AttemptError)


@pytest.mark.parametrize("options", [{"prefix_bytes": -1}, {"prefill_tokens": 1.5}])
def test_a_malformed_option_is_named(folder: Path, options: dict[str, float]) -> None:
    settings = TextSettings(model=folder, ends=frozenset(), context=9, options=options)
    with pytest.raises(ConfigError, match=next(iter(options))):
        make_text_engine("transformers", settings)
    with pytest.raises(ConfigError, match="transformers, vllm"):
        make_text_engine("none", settings)
