"""Which engine serves chat, and what it is given."""

from pathlib import Path

import msgspec
import pytest

from ourvidz_worker.config import Config
from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.lane import Lane
from ourvidz_worker.residency.nvml import NvmlMeter
from ourvidz_worker.wiring import models
from ourvidz_worker.wiring.models import engine_of, settings_of


@pytest.mark.parametrize(
    ("device", "installed", "engine"),
    [
        ("cuda", True, "chat_vllm"),
        ("cuda:1", True, "chat_vllm"),
        ("cuda", False, "chat_transformers"),
        ("cpu", True, "chat_transformers"),
    ],
)
def test_vllm_serves_chat_on_a_card_where_it_is_installed(
    device: str, installed: bool, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: object() if installed else None)
    assert engine_of(Config(device=device), Lane.CHAT) == engine


@pytest.mark.parametrize(("card", "engine"), [(True, "chat_vllm"), (False, "chat_transformers")])
def test_without_a_device_named_the_driver_is_asked(
    card: bool, engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda name: object())
    monkeypatch.setattr(NvmlMeter, "is_there", lambda name: card)
    assert engine_of(Config(), Lane.CHAT) == engine


def test_an_engine_that_is_named_is_taken() -> None:
    assert engine_of(Config(device="cpu", chat_engine="chat_vllm"), Lane.CHAT) == "chat_vllm"


def test_the_operator_s_options_reach_the_chat_engine_alone(tmp_path: Path) -> None:
    path = str(tmp_path)
    config = Config(
        qwen_instruct_path=path,
        qwen_base_path=path,
        sdxl_model_path=path,
        chat_options='{"kv_cache_gb": 2.5, "capacity": 8}',
    )
    chat, image = settings_of(config, Lane.CHAT), settings_of(config, Lane.IMAGE)
    assert chat is not None
    assert image is not None
    assert chat.options == {"kv_cache_gb": 2.5, "capacity": 8, "base_is_instruct": True}
    assert image.options == {}
    own = msgspec.structs.replace(config, chat_options='{"base_is_instruct": false}')
    refused = settings_of(own, Lane.CHAT)
    assert refused is not None
    assert refused.options == {"base_is_instruct": False}


@pytest.mark.parametrize("text", ["{", "[]", '{"a": {"b": 1}}', "7"])
def test_options_that_are_no_flat_object_are_named(text: str, tmp_path: Path) -> None:
    config = Config(qwen_instruct_path=str(tmp_path), chat_options=text)
    with pytest.raises(ConfigError, match="OURVIDZ_CHAT_OPTIONS"):
        settings_of(config, Lane.CHAT)
