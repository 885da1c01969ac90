"""The engine arguments that an operator's options lead to."""

from pathlib import Path
from typing import Any

import pytest

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.memory import GIB
from ourvidz_worker.engines.text.vllm_options import (
    VllmOptions,
    engine_arguments,
    graph_sizes,
    read_options,
    visible_devices,
)


def arguments(options: VllmOptions, capacity: int = 256) -> dict[str, Any]:
    return engine_arguments(Path("m"), options, context=1024, capacity=capacity, dtype="bfloat16")


def test_without_options_the_defaults_hold() -> None:
    assert read_options({}) == VllmOptions()


def test_options_of_others_are_left_alone() -> None:
    options = read_options({"base_is_instruct": True, "step_tokens": 512, "kv_cache_gb": 1})
    assert options == VllmOptions(step_tokens=512, kv_cache_gb=1.0)


@pytest.mark.parametrize(
    "given",
    [{"step_tokens": "many"}, {"step_tokens": 0}, {"kv_cache_gb": -1.0}, {"load_format": "pickle"}],
)
def test_a_malformed_option_is_named(given: dict[str, str | int | float | bool]) -> None:
    with pytest.raises(ConfigError, match=next(iter(given))):
        read_options(given)


def test_the_cache_is_given_in_bytes_and_no_share_of_the_card_is_claimed() -> None:
    """What others hold on the card neither stops a start nor counts against it."""
    told = arguments(VllmOptions(kv_cache_gb=2))
    assert told["kv_cache_memory_bytes"] == 2 * GIB
    assert told["gpu_memory_utilization"] < 0.05


def test_nothing_of_the_models_own_words_or_sampling_comes_in() -> None:
    """T-1, P-1: no tokenizer, no generation configuration, no code of the model's."""
    told = arguments(VllmOptions())
    assert told["generation_config"] == "vllm"
    assert told["skip_tokenizer_init"] is True
    assert told["trust_remote_code"] is False
    assert told["logprobs_mode"] == "raw_logprobs"


def test_graphs_reach_to_the_capacity_and_eager_has_none() -> None:
    assert graph_sizes(1) == [1]
    assert graph_sizes(20) == [1, 2, 4, 8, 16, 20]
    assert graph_sizes(256)[-1] == 256
    assert graph_sizes(2000)[-1] == 512
    graphs = arguments(VllmOptions(), capacity=4)
    assert graphs["compilation_config"] == {"cudagraph_capture_sizes": [1, 2, 4]}
    eager = arguments(VllmOptions(enforce_eager=True))
    assert "compilation_config" not in eager


@pytest.mark.parametrize(
    ("device", "present", "shown"),
    [
        ("cuda", None, None),
        ("auto", "3", None),
        ("cuda:0", None, "0"),
        ("cuda:1", None, "1"),
        ("cuda:1", "4, 6", "6"),
    ],
)
def test_a_numbered_card_is_the_one_of_those_shown(
    device: str, present: str | None, shown: str | None
) -> None:
    assert visible_devices(device, present) == shown


def test_without_a_cuda_device_there_is_nothing_to_start() -> None:
    with pytest.raises(ConfigError):
        visible_devices("cpu", None)
