"""The portable text engine keeps the contract of text engines, on two architectures."""

from pathlib import Path

import pytest

from ourvidz_worker.engines import TextEngine, TextSettings, make_text_engine
from ourvidz_worker.testing.check_text_engine import (
    CHECKS,
    LONG,
    Check,
    TextSample,
    check_close,
    ends_beside,
    greedy,
    load_checked,
    name_of,
)
from ourvidz_worker.testing.tiny_models import build_llama, build_qwen2

VOCABULARY = 320
CAPACITY = 12
BUILDERS = {"llama": build_llama, "qwen2": build_qwen2}
PROMPTS = tuple(
    tuple((7 + 31 * number + 13 * place) % VOCABULARY for place in range(4 + number))
    for number in range(8)
)
LONG_PROMPT = tuple((11 + 17 * place + place * place) % VOCABULARY for place in range(200))

Loaded = tuple[TextEngine, TextSample]


def make(folder: Path, ends: frozenset[int]) -> TextEngine:
    settings = TextSettings(model=folder, ends=ends, context=512, capacity=CAPACITY)
    return load_checked(make_text_engine("transformers", settings))


@pytest.fixture(scope="module", params=BUILDERS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Loaded:
    folder = BUILDERS[request.param](tmp_path_factory.mktemp("tiny") / request.param)
    endless = make(folder, frozenset())
    texts = [greedy(endless, prompt, max_tokens=LONG) for prompt in PROMPTS]
    endless.close()
    ends = ends_beside(texts, VOCABULARY, every=7)
    sample = TextSample(prompts=PROMPTS, long_prompt=LONG_PROMPT, ends=ends, capacity=CAPACITY)
    return make(folder, ends), sample


@pytest.mark.parametrize("check", [*CHECKS, check_close], ids=name_of)
def test_text_engine(check: Check, loaded: Loaded) -> None:
    check(*loaded)
