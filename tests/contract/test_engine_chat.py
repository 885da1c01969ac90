"""The chat engine over the portable text engine keeps the engines' contract."""

from pathlib import Path
from typing import Any

import pytest

from ourvidz_worker.domain.request import ChatRequest, Message, Sampling
from ourvidz_worker.engines import Engine, EngineSettings, make_engine
from ourvidz_worker.testing.check_engine import CHECKS, Check, Sample, load_checked, name_of
from ourvidz_worker.testing.tiny_models import build_llama, build_qwen2

TALK = ChatRequest(
    job_type="chat_conversation",
    sampling=Sampling(max_tokens=6, temperature=0.9),
    messages=(
        Message(role="system", content="be brief"),
        Message(role="user", content="hello world"),
    ),
)
RAW = ChatRequest(
    job_type="chat_enhance",
    model="base",
    sampling=Sampling(max_tokens=6, temperature=0.0, stop=("the",)),
    text="a red apple",
)
SAMPLES = (Sample(name="conversation", request=TALK), Sample(name="raw text", request=RAW))


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine[Any]:
    folder = tmp_path_factory.mktemp("models")
    settings = EngineSettings(
        model=build_qwen2(folder / "qwen"), second_model=build_llama(folder / "llama")
    )
    return load_checked(make_engine("chat_transformers", settings))


@pytest.mark.parametrize("sample", SAMPLES, ids=str)
@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_chat(check: Check, sample: Sample, engine: Engine[Any], tmp_path: Path) -> None:
    check(engine, sample, tmp_path)
    assert engine.describe().capacity == 64
