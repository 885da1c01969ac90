"""vLLM's text engine on a real card, by hand: `pytest tests/gpu -m gpu`.

One small model of the real architecture, in real files, serves all tests; its heads are as wide
as Qwen2.5-7B's.
"""

import math
import multiprocessing.connection
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM

from ourvidz_worker.domain.errors import AttemptError, RequestError
from ourvidz_worker.domain.memory import GIB
from ourvidz_worker.domain.request import Sampling
from ourvidz_worker.engines.chat_sampling import Sampler
from ourvidz_worker.engines.text import (
    TextEngine,
    TextSettings,
    Token,
    TokenStream,
    make_text_engine,
)
from ourvidz_worker.residency.nvml import NvmlMeter
from ourvidz_worker.testing.check_text_engine import (
    CHECKS,
    Check,
    TextSample,
    check_close,
    load_checked,
    name_of,
)
from ourvidz_worker.testing.tiny_models import randomise

pytestmark = [pytest.mark.gpu]

Foreign = Any
VOCABULARY, CONTEXT = 512, 1024
LONG_S = 60.0
PROMPT = tuple(range(3, 40))
GREEDY = Sampling(max_tokens=24, temperature=0.0)
ENDS = frozenset(range(480, VOCABULARY))
SAMPLE = TextSample(
    prompts=tuple(tuple(range(start, start + 9)) for start in range(10, 170, 20)),
    long_prompt=tuple((7 * number) % 470 + 1 for number in range(160)),
    ends=ENDS,
    capacity=8,
    exact=False,
)

LOADED_THEN_WAITS = """
import sys
from pathlib import Path
from ourvidz_worker.engines.text import TextSettings, make_text_engine

def main():
    settings = TextSettings(
        model=Path(sys.argv[1]), ends=frozenset({511}), context=1024, device="cuda",
        dtype="bfloat16", capacity=4, options={"kv_cache_gb": 2.0, "enforce_eager": True},
    )
    engine = make_text_engine("vllm", settings)
    engine.load(lambda part, fraction: None)
    print("loaded", flush=True)
    sys.stdin.readline()

if __name__ == "__main__":
    main()
"""


def build_model(folder: Path) -> Path:
    """Two layers. An end is never the likeliest token, but drawn in one of twenty at random."""
    config = Qwen2Config(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=False,
    )
    module: Foreign = Qwen2ForCausalLM(config)
    randomise(module, 5)
    with torch.no_grad():
        module.lm_head.weight[sorted(ENDS)] = 0.0
    module.to(torch.bfloat16).save_pretrained(folder)
    return folder


def settings_of(folder: Path, **options: str | float | bool) -> TextSettings:
    return TextSettings(
        model=folder,
        ends=ENDS,
        context=CONTEXT,
        device="cuda",
        dtype="bfloat16",
        capacity=SAMPLE.capacity,
        options={"kv_cache_gb": 2.0, **options},
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[TextEngine]:
    engine = load_checked(make_text_engine("vllm", settings_of(folder)))
    yield engine
    check_close(engine, SAMPLE)


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_text_engine(check: Check, engine: TextEngine) -> None:
    """vLLM keeps the text engines' contract."""
    check(engine, SAMPLE)


def whole(engine: TextEngine, sampling: Sampling, seed: int = 1) -> list[Token]:
    """A text from its first token to its last."""
    return rest(engine.add(PROMPT, sampling, seed))


def rest(stream: TokenStream) -> list[Token]:
    """All tokens from here to the text's end."""
    tokens: list[Token] = []
    finish = None
    while finish is None:
        part = stream.read(LONG_S)
        assert part.tokens or part.finish, "nothing came"
        tokens.extend(part.tokens)
        finish = part.finish
    return tokens


def ids(tokens: list[Token]) -> list[int]:
    return [token.id for token in tokens]


@pytest.fixture(scope="module")
def reference(folder: Path) -> Foreign:
    """The same model in transformers, in single precision on the CPU."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def scores_along(reference: Foreign, tokens: list[int]) -> torch.Tensor:
    """The scores `[T, V]` from which each token of a text behind the prompt was drawn."""
    with torch.inference_mode():
        logits: torch.Tensor = reference(torch.tensor([[*PROMPT, *tokens]])).logits[0]
    return logits[len(PROMPT) - 1 : -1].float()


@pytest.mark.parametrize(
    "sampling",
    [
        GREEDY,
        Sampling(max_tokens=24, temperature=0.0, repetition_penalty=1.6),
        Sampling(max_tokens=24, temperature=0.0, frequency_penalty=1.5, presence_penalty=-0.5),
        Sampling(max_tokens=24, temperature=0.0, repetition_penalty=0.8, presence_penalty=2.0),
    ],
    ids=["plain", "repetition", "frequency", "both"],
)
def test_greedy_draws_are_the_best_by_our_own_rules(
    sampling: Sampling, engine: TextEngine, reference: Foreign
) -> None:
    """Penalties mean the same here as in the portable engine, token by token."""
    drawn = ids(whole(engine, sampling))
    sampler = Sampler(sampling, 1, PROMPT, VOCABULARY)
    for token, scores in zip(drawn, scores_along(reference, drawn), strict=True):
        penalised = sampler.penalise(scores)
        # bfloat16 has two to three digits: the best may be missed by that much, not by more.
        slack = 0.05 * float(scores.abs().max())
        assert float(penalised.max() - penalised[token]) <= slack
        sampler.note(token)


def test_chances_are_the_models_own(engine: TextEngine, reference: Foreign) -> None:
    sampling = Sampling(max_tokens=16, temperature=1.5, top_k=3, repetition_penalty=1.5, logprobs=5)
    tokens = whole(engine, sampling, seed=4)
    expected = scores_along(reference, ids(tokens)).log_softmax(dim=-1)
    for token, row in zip(tokens, expected, strict=True):
        assert token.logprob == pytest.approx(float(row[token.id]), abs=0.2)
        assert len(token.top) == 5
        chances = [chance for _, chance in token.top]
        assert chances == sorted(chances, reverse=True)
        for id_, chance in token.top:
            assert chance == pytest.approx(float(row[id_]), abs=0.2)


def test_a_seed_decides_what_is_drawn(engine: TextEngine) -> None:
    free = Sampling(max_tokens=32, temperature=2.0, top_p=1.0)
    first = ids(whole(engine, free, seed=1))
    assert ids(whole(engine, free, seed=1)) == first
    assert ids(whole(engine, free, seed=2)) != first


def test_a_prompt_seen_before_is_found_computed(engine: TextEngine) -> None:
    prompt = tuple(range(100, 200))
    for expected in (False, True):
        stream = engine.add(prompt, Sampling(max_tokens=1, temperature=0.0), 1)
        cached = 0
        while (part := stream.read(LONG_S)).finish is None:
            cached = max(cached, part.cached)
        assert (max(cached, part.cached) > 0) is expected


def test_a_text_is_the_same_after_each_park(engine: TextEngine) -> None:
    """What was computed ahead is forgotten; one that comes meanwhile waits."""
    found = []
    for _ in range(3):
        engine.park()
        assert not engine.footprint().resident
        waiting = engine.add(PROMPT, GREEDY, 1)
        assert waiting.read(0.2).tokens == ()
        engine.wake()
        assert engine.footprint().resident
        found.append(ids(rest(waiting)))
    assert len(found[0]) == GREEDY.max_tokens
    assert found[1:] == found[:1] * 2


def test_a_park_gives_the_card_back(engine: TextEngine) -> None:
    meter = NvmlMeter()
    awake = meter.read_now()
    engine.park()
    asleep = meter.read_now()
    engine.wake()
    again = meter.read_now()
    assert awake is not None
    assert asleep is not None
    assert again is not None
    held = engine.footprint().weights_bytes + engine.footprint().cache_bytes
    assert held > 2 * GIB
    assert asleep.free_bytes - awake.free_bytes > 0.95 * held
    assert abs(again.free_bytes - awake.free_bytes) < 0.1 * held


def test_a_pause_holds_texts_and_a_resume_goes_on_with_them(engine: TextEngine) -> None:
    endless = Sampling(max_tokens=600, temperature=0.0)
    whole(engine, endless)  # from here on the prompt is found computed, each time alike
    undisturbed = ids(whole(engine, endless))
    running = engine.add(PROMPT, endless, 1)
    got = list(running.read(LONG_S).tokens)
    engine.pause()
    late = engine.add(PROMPT, GREEDY, 1)
    got.extend(running.read(0.0).tokens)
    assert len(got) < endless.max_tokens
    assert running.read(0.3).tokens == ()
    assert late.read(0.3).tokens == ()
    late.cancel()
    engine.resume()
    got.extend(rest(running))
    assert ids(got) == undisturbed


def test_a_cancelled_text_ends_and_makes_room(engine: TextEngine) -> None:
    endless = Sampling(max_tokens=900, temperature=0.0)
    streams = [engine.add((*PROMPT, number), endless, 1) for number in range(32)]
    assert streams[0].read(LONG_S).tokens
    for stream in streams:
        stream.cancel()
        stream.cancel()
    assert len(whole(engine, GREEDY)) == GREEDY.max_tokens
    for stream in streams:
        while stream.read(LONG_S).tokens:
            pass
        assert stream.read(LONG_S).finish is None


def test_a_temperature_that_would_be_changed_is_refused(engine: TextEngine) -> None:
    with pytest.raises(RequestError):
        engine.add(PROMPT, Sampling(temperature=0.001), 1)


def broken_model(folder: Path, target: Path, spoil: Callable[[Foreign], None]) -> Path:
    """The model with weights that are no numbers."""
    module: Foreign = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    with torch.no_grad():
        spoil(module)
    module.save_pretrained(target)
    return target


def test_scores_that_are_no_numbers_end_a_text(folder: Path, tmp_path: Path) -> None:
    """vLLM itself says nothing of them: it draws one token again and again."""
    poison = 500

    def spoil(module: Foreign) -> None:
        module.model.embed_tokens.weight[poison] = math.nan

    broken = broken_model(folder, tmp_path, spoil)
    engine = make_text_engine("vllm", settings_of(broken, enforce_eager=True))
    engine.load(lambda _part, _fraction: None)
    try:
        for temperature in (0.0, 0.8):
            sampling = Sampling(max_tokens=200, temperature=temperature)
            with pytest.raises(AttemptError):
                rest(engine.add((*PROMPT, poison), sampling, 1))
        assert len(whole(engine, GREEDY)) == GREEDY.max_tokens
    finally:
        engine.close()


def test_a_killed_worker_leaves_nothing_on_the_card(folder: Path, tmp_path: Path) -> None:
    """O-5: vLLM's own process ends with ours, whatever ended ours."""
    script = tmp_path / "worker.py"
    script.write_text(LOADED_THEN_WAITS, encoding="utf-8")
    meter = NvmlMeter()
    before = meter.read_now()
    worker = subprocess.Popen(
        [sys.executable, str(script), str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout is not None
    assert "loaded\n" in iter(worker.stdout.readline, "")
    children = [os.pidfd_open(pid) for pid in descendants(worker.pid)]
    assert children
    worker.send_signal(signal.SIGKILL)
    worker.wait(LONG_S)
    for child in children:
        # A process's descriptor becomes readable when it has ended.
        assert multiprocessing.connection.wait([child], LONG_S) == [child]
        os.close(child)
    after = meter.read_now()
    assert before is not None
    assert after is not None
    assert abs(after.free_bytes - before.free_bytes) < GIB


def descendants(pid: int) -> list[int]:
    """Processes below `pid`."""
    below = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text(encoding="ascii").split()
    ]
    return [*below, *(deeper for child in below for deeper in descendants(child))]
