"""What an operator may set of vLLM, and the engine arguments that follow."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from ourvidz_worker.domain.errors import ConfigError
from ourvidz_worker.domain.memory import GIB

CHILD = "ourvidz_worker.engines.text.vllm_child.make_worker"
"""Who makes the worker inside vLLM's own process."""

GRAPH_SIZES = (1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Batch sizes with a CUDA graph; a batch between two of them is filled up to the next."""

NO_SHARE = 0.01
"""`gpu_memory_utilization`: how much of the card must be free at the start, else nothing starts.

With the cache given in bytes it decides nothing else; a high share would count what other
processes on the card hold against this one.
"""


class VllmOptions(msgspec.Struct, frozen=True, kw_only=True):
    """An engine's options.

    `kv_cache_gb` (GiB) holds what was computed of prompts and texts; `max_model_len` bounds the
    context (T-3), `step_tokens` how much of the prompts one step reads. `enforce_eager` does
    without CUDA graphs. `load_format` is `dummy` for weights drawn at random, to measure with.
    """

    kv_cache_gb: float = 4.0
    max_model_len: int = 32_768
    step_tokens: int = 8192
    enforce_eager: bool = False
    load_format: Literal["auto", "safetensors", "dummy"] = "safetensors"

    @property
    def cache_bytes(self) -> int:
        """The cache in bytes."""
        return int(self.kv_cache_gb * GIB)


def read_options(given: Mapping[str, str | int | float | bool]) -> VllmOptions:
    """The options among `given` that are vLLM's; others are somebody else's.

    Raises `ConfigError` naming the one that is malformed.
    """
    known = {name: given[name] for name in VllmOptions.__struct_fields__ if name in given}
    try:
        options = msgspec.convert(known, VllmOptions)
    except msgspec.ValidationError as error:
        raise ConfigError(f"an option of the text engine is wrong: {error}") from error
    for name in ("kv_cache_gb", "max_model_len", "step_tokens"):
        if getattr(options, name) <= 0:
            raise ConfigError(f"the text engine's option {name} must be above 0")
    return options


def engine_arguments(
    folder: Path, options: VllmOptions, *, context: int, capacity: int, dtype: str
) -> dict[str, Any]:
    """The arguments of `vllm.AsyncEngineArgs` for the model in `folder`.

    `capacity` is how many texts one step computes at most.
    """
    arguments: dict[str, Any] = {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "generation_config": "vllm",
        "load_format": options.load_format,
        "dtype": dtype,
        "max_model_len": context,
        "max_num_seqs": capacity,
        "max_num_batched_tokens": max(options.step_tokens, capacity),
        "enable_chunked_prefill": True,
        "enable_prefix_caching": True,
        "kv_cache_memory_bytes": options.cache_bytes,
        "gpu_memory_utilization": NO_SHARE,
        "enable_sleep_mode": True,
        "enforce_eager": options.enforce_eager,
        "logprobs_mode": "raw_logprobs",
        "max_logprobs": 20,
        "trust_remote_code": False,
        "disable_log_stats": True,
        "seed": 0,
        "worker_cls": CHILD,
    }
    if not options.enforce_eager:
        arguments["compilation_config"] = {"cudagraph_capture_sizes": graph_sizes(capacity)}
    return arguments


def graph_sizes(capacity: int) -> list[int]:
    """The batch sizes with a graph: those below `capacity`, and itself."""
    return [*(size for size in GRAPH_SIZES if size < capacity), min(capacity, GRAPH_SIZES[-1])]


def visible_devices(device: str, present: str | None) -> str | None:
    """What CUDA_VISIBLE_DEVICES must say for `device`; None when nothing needs to be said.

    `present` is what it says now. Raises `ConfigError` for a device that is no CUDA device.
    """
    kind, _, number = device.partition(":")
    if kind not in ("cuda", "auto"):
        raise ConfigError("vLLM needs a CUDA device; set the device to cuda", field="device")
    if not number:
        return None
    names = present.split(",") if present else []
    index = int(number)
    return names[index].strip() if index < len(names) else number
