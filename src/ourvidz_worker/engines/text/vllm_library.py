"""vLLM itself: brought in only when an engine loads, under the environment that it needs."""

import os
import re
from collections.abc import Mapping, MutableMapping
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

import msgspec

from ourvidz_worker.domain.errors import ModelLoadFailed

LOWEST, BEYOND = (0, 24), (0, 34)
"""The versions admitted. 0.24 was run; its interfaces were compared with those of 0.33."""

EXTRA = "ourvidz-worker[vllm]"

ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # Nothing goes to the network: no statistics, no model hub, all sockets on this machine.
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "NCCL_SOCKET_IFNAME": "lo",
        # This process has threads, so its child must be spawned, not forked.
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
        "VLLM_USE_FLASHINFER_SAMPLER": "0",
        "VLLM_LOGGING_STREAM": "ext://sys.stderr",
        "TOKENIZERS_PARALLELISM": "false",
    }
)
"""What is set before vLLM is imported, where the operator has not set it.

vLLM and its child read it from the process's environment; there is no other way in. FlashInfer's
sampler is off because it serves no text with a seed of its own, and all of ours have one.
"""


class Library(msgspec.Struct, frozen=True, kw_only=True):
    """The four names of vLLM that are used."""

    version: str
    engine_arguments: Any
    engine: Any
    sampling: Any
    deltas: Any
    """`RequestOutputKind.DELTA`: each output brings what is new alone."""


def open_library(environment: MutableMapping[str, str] | None = None) -> Library:
    """Import vLLM. Raises `ModelLoadFailed` when it is absent or of a version not admitted."""
    found = installed_version()
    # The one place besides the configuration that writes the environment: for vLLM's eyes.
    target = os.environ if environment is None else environment  # noqa: TID251
    for name, value in ENVIRONMENT.items():
        target.setdefault(name, value)
    try:
        vllm = import_module("vllm")
        parameters = import_module("vllm.sampling_params")
        return Library(
            version=found,
            engine_arguments=vllm.AsyncEngineArgs,
            engine=vllm.AsyncLLMEngine,
            sampling=vllm.SamplingParams,
            deltas=parameters.RequestOutputKind.DELTA,
        )
    except (ImportError, AttributeError, RuntimeError, OSError) as error:
        raise ModelLoadFailed(
            f"vLLM {found} cannot be used here; install {EXTRA} anew.", cause=repr(error)
        ) from error


def installed_version() -> str:
    """The version of vLLM that is installed. Raises `ModelLoadFailed` unless it is admitted."""
    try:
        found = version("vllm")
    except PackageNotFoundError as error:
        raise ModelLoadFailed(f"vLLM is not installed; install {EXTRA}.") from error
    check_version(found)
    return found


def check_version(found: str) -> None:
    """Raise `ModelLoadFailed` unless `LOWEST <= found < BEYOND`."""
    match = re.match(r"(\d+)\.(\d+)", found)
    numbers = (int(match[1]), int(match[2])) if match else (0, 0)
    if not LOWEST <= numbers < BEYOND:
        low, high = (".".join(map(str, bound)) for bound in (LOWEST, BEYOND))
        raise ModelLoadFailed(
            f"vLLM {found} is not admitted, only {low} up to below {high}; install {EXTRA}."
        )
