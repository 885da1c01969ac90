"""The fake engine keeps the engines' contract, and misbehaves exactly as its options say."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ourvidz_worker.domain.errors import (
    AttemptError,
    ConfigError,
    ModelLoadFailed,
    OurvidzError,
    OutOfMemory,
    StopRequested,
)
from ourvidz_worker.domain.request import ChatRequest, ImageRequest, Message, Sampling, VideoRequest
from ourvidz_worker.engines import Engine, EngineSettings, make_engine
from ourvidz_worker.engines.encode import write_png
from ourvidz_worker.engines.fake import FakeEngine
from ourvidz_worker.engines.fake_output import StopFinder
from ourvidz_worker.testing.check_engine import (
    CHECKS,
    Check,
    Sample,
    compute,
    digests,
    load_checked,
    name_of,
    run,
)
from ourvidz_worker.testing.clock import FakeClock
from ourvidz_worker.testing.gate import RecordingGate

PICTURE = ImageRequest(
    job_type="sdxl_image_fast",
    prompt="a red kite over dunes",
    negative_prompt=None,
    steps=3,
    guidance=6.0,
    width=96,
    height=64,
)
CLIP = VideoRequest(
    job_type="video_fast",
    prompt="a red kite over dunes",
    negative_prompt="",
    steps=2,
    guidance=6.5,
    width=64,
    height=96,
    frames=5,
)
TALK = ChatRequest(
    job_type="chat_conversation",
    sampling=Sampling(max_tokens=64),
    messages=(Message(role="user", content="tell me of the dunes"),),
)
SAMPLES = (
    Sample(name="picture", request=PICTURE),
    Sample(name="batch", request=msgspec.structs.replace(PICTURE, count=3)),
    Sample(name="clip", request=CLIP),
    Sample(name="still", request=msgspec.structs.replace(CLIP, frames=1)),
    Sample(name="talk", request=TALK),
)


def engine_with(**options: str | int | float | bool) -> Engine[Any]:
    return make_engine("fake", EngineSettings(options=options))


def talk_with(sampling: Sampling) -> ChatRequest:
    return msgspec.structs.replace(TALK, sampling=sampling)


def text_of(request: ChatRequest, folder: Path, *, seed: int = 7) -> tuple[str, str, int]:
    product = run(
        engine_with(), Sample(name="t", request=request, seed=seed).task(folder), RecordingGate()
    )
    facts = product.facts
    return (
        product.artifacts[0].text or "",
        str(facts["finish_reason"]),
        int(str(facts["tokens_generated"])),
    )


@pytest.fixture
def engine() -> Engine[Any]:
    return load_checked(engine_with())


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_contract(check: Check, sample: Sample, engine: Engine[Any], tmp_path: Path) -> None:
    check(engine, sample, tmp_path)


def test_a_reference_changes_the_picture_and_is_told(tmp_path: Path) -> None:
    reference = tmp_path / "reference.png"
    write_png(reference, np.zeros((8, 8, 3), np.uint8))
    plain = Sample(name="plain", request=PICTURE)
    guided = Sample(name="guided", request=PICTURE, references={"reference": reference})
    products = [
        run(engine_with(), sample.task(tmp_path / sample.name), RecordingGate())
        for sample in (plain, guided)
    ]
    assert digests(products[0]) != digests(products[1])
    assert [each.artifacts[0].metadata["pipeline"] for each in products] == ["txt2img", "img2img"]


def test_what_is_cut_down_is_told_as_a_difference(tmp_path: Path) -> None:
    wanted = msgspec.structs.replace(CLIP, width=480, height=832, frames=81)
    product = run(
        engine_with(), Sample(name="t", request=wanted).task(tmp_path / "s"), RecordingGate()
    )
    said = {each.parameter: (each.requested, each.effective) for each in product.differences}
    assert said == {"size": ("480x832", "74x128"), "frames": ("81", "17")}
    assert product.artifacts[0].metadata["frame_num"] == 17
    large = run(
        engine_with(max_side=96, max_frames=81),
        Sample(name="t", request=msgspec.structs.replace(CLIP, frames=81)).task(tmp_path / "l"),
        RecordingGate(),
    )
    assert large.artifacts[0].metadata["frame_num"] == 81
    assert large.differences == ()


def test_text_is_a_function_of_request_and_seed(tmp_path: Path) -> None:
    one = text_of(TALK, tmp_path / "1", seed=1)
    assert one == text_of(TALK, tmp_path / "2", seed=1)
    assert one != text_of(TALK, tmp_path / "3", seed=2)
    greedy = talk_with(Sampling(temperature=0.0, max_tokens=64))
    assert text_of(greedy, tmp_path / "4", seed=1) == text_of(greedy, tmp_path / "5", seed=2)


def test_text_honours_max_tokens_and_stop(tmp_path: Path) -> None:
    whole, reason, tokens = text_of(TALK, tmp_path / "whole")
    assert (reason, tokens) == ("stop", len(whole.split()))
    words = whole.split()
    assert text_of(talk_with(Sampling(max_tokens=3)), tmp_path / "3") == (
        " ".join(words[:3]),
        "length",
        3,
    )
    exact = talk_with(Sampling(max_tokens=len(words)))
    assert text_of(exact, tmp_path / "exact") == (whole, "stop", len(words))
    stop = f"{words[4]} {words[5]}"
    cut, reason, _ = text_of(
        talk_with(Sampling(max_tokens=64, stop=("never", stop))), tmp_path / "stop"
    )
    assert reason == "stop"
    assert cut == whole[: whole.index(stop)].strip()


def test_a_stop_string_never_shows_even_in_part() -> None:
    finder = StopFinder(("abc", "xyz"))
    shown = [finder.feed(piece) for piece in ("1a", "b", "2x", "a", "bcd", "e")]
    assert shown == ["1", "", "ab2", "x", "", ""]
    assert finder.found
    assert finder.rest() == ""
    held = StopFinder(("abc",))
    assert [held.feed("ab"), held.rest()] == ["", "ab"]


def test_time_passes_in_slices_that_ask_the_gate(tmp_path: Path) -> None:
    waits: list[float] = []
    engine = FakeEngine(EngineSettings(options={"steps_s": 0.5, "load_s": 2.0}), pause=waits.append)
    engine.load(lambda part, fraction: None)
    assert sum(waits) == pytest.approx(2.0)
    waits.clear()
    gate = RecordingGate()
    run(engine, Sample(name="t", request=PICTURE).task(tmp_path / "all"), gate)
    assert sum(waits) == pytest.approx(3 * 0.5)
    assert max(waits) <= 0.02
    assert gate.calls > len(waits)
    stopped = RecordingGate(stop_at=10)
    with pytest.raises(StopRequested):
        compute(engine, Sample(name="t", request=PICTURE).task(tmp_path / "part"), stopped)
    assert sum(waits) < 3 * 0.5 + 0.5


def test_steps_kept_in_step_end_at_the_same_moments(tmp_path: Path) -> None:
    clock = FakeClock()
    clock.jump(0.004)
    ends: list[float] = []

    def pause(seconds: float) -> None:
        clock.jump(seconds)
        ends.append(clock.monotonic())

    settings = EngineSettings(options={"steps_s": 0.01, "in_step": True, "words": 4})
    engine = FakeEngine(settings, pause=pause, clock=clock)
    run(engine, Sample(name="t", request=TALK).task(tmp_path / "s"), RecordingGate())
    assert [round(end, 6) for end in ends] == [1000.01, 1000.02, 1000.03, 1000.04]


def test_a_text_is_as_long_as_the_options_say(tmp_path: Path) -> None:
    engine = engine_with(words=300)
    long = Sample(name="t", request=talk_with(Sampling(max_tokens=400)))
    facts = run(engine, long.task(tmp_path / "s"), RecordingGate()).facts
    assert (facts["tokens_generated"], facts["finish_reason"]) == (300, "stop")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"fail_at_step": 2}, AttemptError),
        ({"fail_at_step": 1, "fail_code": "OOM_ERROR"}, OutOfMemory),
        ({"fail_at_step": 3, "fail_code": "FOREIGN"}, RuntimeError),
        ({"nan_at_step": 1}, AttemptError),
    ],
)
def test_faults_strike_as_told(
    options: dict[str, str | int | float | bool], expected: type[Exception], tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    task = Sample(name="t", request=PICTURE).task(tmp_path / "spool")
    with pytest.raises(expected) as caught:
        compute(engine_with(**options), task, RecordingGate())
    assert isinstance(caught.value, OurvidzError) == (expected is not RuntimeError)
    once = engine_with(**options, fault_marker=str(marker))
    with pytest.raises(expected):
        compute(once, task, RecordingGate())
    assert marker.exists()
    assert run(once, task, RecordingGate()).artifacts


def test_a_hang_never_asks_the_gate(tmp_path: Path) -> None:
    class Enough(Exception):
        """The test has seen enough."""

    waits: list[float] = []

    def pause(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) > 50:
            raise Enough

    engine = FakeEngine(EngineSettings(options={"hang_at_step": 2}), pause=pause)
    gate = RecordingGate()
    with pytest.raises(Enough):
        compute(engine, Sample(name="t", request=PICTURE).task(tmp_path / "spool"), gate)
    assert [step for step in gate.steps if step.stage == "denoise"] == [("denoise", 1, 3)]


def test_a_load_fails_as_told() -> None:
    with pytest.raises(ModelLoadFailed):
        engine_with(fail_load=True).load(lambda part, fraction: None)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"step_s": 1.0}, "step_s"),
        ({"capacity": "many"}, "capacity"),
        ({"fail_code": "NO_SUCH"}, "OOM_ERROR"),
        ({"capacity": 0}, "at least 1"),
    ],
)
def test_wrong_options_are_named(options: dict[str, str | int | float | bool], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        engine_with(**options)


def test_the_claimed_memory_is_described() -> None:
    description = engine_with(memory_bytes=10_000, capacity=4).describe()
    assert (description.capacity, description.peak_bytes) == (4, 10_000)
    assert sum(description.components.values()) == 10_000
