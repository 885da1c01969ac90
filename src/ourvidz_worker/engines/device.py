"""Where an engine computes, and the one border at which the libraries' errors become ours."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch
from diffusers.utils import logging as diffusers_logging
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging as transformers_logging

from ourvidz_worker.domain.errors import AttemptError, ConfigError, ModelLoadFailed, OutOfMemory

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
"""The precisions an operator may choose."""

Foreign = Any
"""An object of a library whose types say too little of it: a model, a scheduler, a tokenizer."""

AUTO = "auto"
NATURAL_DTYPE = {"cpu": "float32", "cuda": "bfloat16"}
"""The precision of each kind of device where none is set."""

LIBRARIES = ("torch", "diffusers", "transformers", "tokenizers", "safetensors")
"""The libraries whose version a receipt names."""

_FOREIGN = (
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    OSError,
    ImportError,
    SafetensorError,
    StrictDataclassError,
)
_LIBRARY_LOGS: tuple[Foreign, ...] = (diffusers_logging, transformers_logging)
_NO_MEMORY = ("can't allocate memory", "not enough memory", "CUBLAS_STATUS_ALLOC_FAILED")
_KIBIBYTE = 1024


@dataclass(frozen=True, kw_only=True)
class Compute:
    """The device and precision of one engine; `name` is what a receipt says of the device."""

    device: torch.device
    dtype: torch.dtype
    name: str


def open_device(
    device: str, dtype: str, *, threads: int = 1, memory_fraction: float | None = None
) -> Compute:
    """Take the device for this process: threads, memory cap and repeatable kernels.

    `auto` is CUDA where there is a card, and the precision that suits the device. Raises
    `ConfigError` for an unknown name, `ModelLoadFailed` when there is no such device.
    """
    torch.set_num_threads(threads)
    _quieten_libraries()
    if device == AUTO:
        device = find_device(device).type
    kind = device.partition(":")[0]
    if kind not in NATURAL_DTYPE:
        raise ConfigError("device must be cpu, cuda or auto", field="device")
    chosen_dtype = NATURAL_DTYPE[kind] if dtype == AUTO else dtype
    if chosen_dtype not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(sorted(DTYPES))}", field="dtype")
    if kind == "cpu":
        return Compute(device=torch.device("cpu"), dtype=DTYPES[chosen_dtype], name="cpu")
    if not torch.cuda.is_available():
        raise ModelLoadFailed("There is no usable CUDA device; set the device to cpu.")
    chosen = torch.device(device)
    with foreign_errors(ModelLoadFailed):
        torch.cuda.set_device(chosen)
        cap_memory(memory_fraction)
        _pin_kernels()
        name = torch.cuda.get_device_name(chosen)
    return Compute(device=chosen, dtype=DTYPES[chosen_dtype], name=name)


def cap_memory(fraction: float | None) -> None:
    """Cap torch's allocator at `fraction` of the card, right after CUDA starts (M-1)."""
    if fraction is not None and torch.cuda.is_available():
        torch.cuda.init()  # type: ignore[no-untyped-call]
        torch.cuda.set_per_process_memory_fraction(fraction)


def find_device(device: str) -> torch.device:
    """The device that `open_device` would take, without taking it."""
    if device == AUTO:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def device_name(device: torch.device) -> str:
    """What a receipt says of a device: the card's name, or `cpu`."""
    return torch.cuda.get_device_name() if device.type == "cuda" else device.type


def peak_bytes(compute: Compute) -> int:
    """The most memory used so far: the card's, or this process's on a CPU."""
    return peak_bytes_on(compute.device)


def peak_bytes_on(device: torch.device) -> int:
    """The most memory that this process used so far of a device."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _KIBIBYTE


def size_bytes(module: torch.nn.Module) -> int:
    """Bytes of a module's parameters and buffers."""
    tensors = [*module.parameters(), *module.buffers()]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def library_versions() -> dict[str, str]:
    """The versions of the libraries that compute."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "absent"
    return versions


@contextmanager
def foreign_errors(failure: type[AttemptError] = AttemptError) -> Iterator[None]:
    """Turn what the libraries raise inside into `failure`, or `OutOfMemory`.

    Errors of ours and `StopRequested` pass untouched.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(cause=repr(error)) from error
    except _FOREIGN as error:
        if any(sign in str(error) for sign in _NO_MEMORY):
            raise OutOfMemory(cause=repr(error)) from error
        raise failure(cause=repr(error)) from error


def _quieten_libraries() -> None:
    # Progress bars on standard error would tear the log's lines.
    for logging in _LIBRARY_LOGS:
        logging.disable_progress_bar()


def _pin_kernels() -> None:
    # Autotuning may choose another kernel at the next start, and with it other bits.
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
