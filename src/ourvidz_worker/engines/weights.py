"""Weights on disk: safetensors alone, their headers checked before anything is loaded.

Reads folders in the layouts of diffusers and transformers, and single files. Nothing here runs
code from a model folder and nothing goes to the network.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import torch
from transformers import AutoConfig

from ourvidz_worker.domain.errors import ModelLoadFailed
from ourvidz_worker.engines.device import Compute, Foreign, foreign_errors

MAX_HEADER_BYTES = 100_000_000
"""The bound that the safetensors library itself sets."""

PICKLES = (".bin", ".ckpt", ".pt", ".pth", ".pkl", ".pickle", ".h5", ".msgpack")
"""Formats that are never loaded; most of them can run code."""

SAMPLES = 64
"""How many places of a weights file go into its digest besides the header."""

SAMPLE_BYTES = 4096
_LENGTH_BYTES = 8
_ITEM_BYTES = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
    **dict.fromkeys(("U16", "I16", "F16", "BF16"), 2),
    **dict.fromkeys(("U32", "I32", "F32"), 4),
    **dict.fromkeys(("U64", "I64", "F64", "C64"), 8),
}


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One tensor of a header; offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


class ModelFiles(msgspec.Struct, frozen=True, kw_only=True):
    """A model that may be loaded: its folder or file, and what identifies it."""

    root: Path
    digest: str
    size_bytes: int


def open_model(path: Path | None, variable: str) -> ModelFiles:
    """Check that `path` holds whole safetensors files; `variable` is the setting that names it.

    Raises `ModelLoadFailed` for a missing path, another format, or a damaged file.
    """
    if path is None:
        raise ModelLoadFailed(f"No model is set; let {variable} name its folder or file.")
    if not path.exists():
        raise ModelLoadFailed(
            f"The model does not exist where {variable} says; fetch it or correct the setting.",
            path=str(path),
        )
    files = [path] if path.is_file() else sorted(path.rglob("*.safetensors"))
    refuse_pickle(path, files)
    for file in files:
        read_header(file)
    return ModelFiles(
        root=path, digest=_digest(path, files), size_bytes=sum(f.stat().st_size for f in files)
    )


def refuse_pickle(path: Path, files: Iterable[Path]) -> None:
    """Raise `ModelLoadFailed`, naming the format, unless `files` are safetensors."""
    found = next((f for f in files if f.suffix != ".safetensors"), None)
    if found is None and not any(files):
        candidates = (f for f in sorted(path.rglob("*")) if f.suffix in PICKLES)
        found = next(candidates, None)
        if found is None:
            raise ModelLoadFailed("The model folder holds no safetensors file.", path=str(path))
    if found is not None:
        kind = found.suffix or "this format"
        raise ModelLoadFailed(
            f"The weights are stored as {kind}, which is never loaded; use safetensors.",
            path=str(found),
        )


def read_header(file: Path) -> dict[str, Entry]:
    """The tensors a safetensors file declares, after checking every bound.

    Raises `ModelLoadFailed` for a file that is cut short or is no safetensors file.
    """
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            raw = _header_bytes(stream, size)
        content = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
        content.pop("__metadata__", None)
        entries = {name: msgspec.json.decode(row, type=Entry) for name, row in content.items()}
    except (OSError, ValueError, msgspec.DecodeError) as error:
        raise ModelLoadFailed(
            "A weights file is damaged; fetch it again.", path=str(file), cause=repr(error)
        ) from error
    data_bytes = size - _LENGTH_BYTES - len(raw)
    for name, entry in entries.items():
        _check_entry(file, name, entry, data_bytes)
    return entries


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of one component. Raises `ModelLoadFailed`."""
    return read_json(folder / "config.json")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from a model folder. Raises `ModelLoadFailed` when absent or malformed."""
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ModelLoadFailed(
            f"The model lacks a readable {file.parent.name}/{file.name}.", path=str(file)
        ) from error
    if not isinstance(content, dict):
        raise ModelLoadFailed(f"The model's {file.name} must be an object.", path=str(file))
    return content


def load_component(
    kind: Foreign,
    folder: Path,
    compute: Compute,
    *,
    dtype: torch.dtype | None = None,
) -> Foreign:
    """A module of class `kind` from its folder, whole, on the device, never to be trained.

    Raises `ModelLoadFailed` when a weight that the architecture needs is absent.
    """
    if not folder.is_dir():
        raise ModelLoadFailed(f"The model lacks its {folder.name} folder.", path=str(folder))
    refuse_pickle(folder, sorted(folder.glob("*.safetensors")))
    from_transformers = kind.__module__.startswith("transformers")
    with foreign_errors(ModelLoadFailed):
        _check_fits(_outline(kind, folder, from_transformers), folder)
        model, told = kind.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            variant=variant_of(folder),
            output_loading_info=True,
            **{"dtype" if from_transformers else "torch_dtype": dtype or compute.dtype},
        )
    missing = [*told.get("missing_keys", ()), *told.get("mismatched_keys", ())]
    if missing:
        raise ModelLoadFailed(
            f"The model's {folder.name} lacks {len(missing)} of its weights.",
            first=str(missing[0]),
        )
    return place(model, compute)


def place(model: Foreign, compute: Compute) -> Foreign:
    """The module on the device, in evaluation mode, without gradients."""
    with foreign_errors(ModelLoadFailed):
        return model.to(compute.device).eval().requires_grad_(False)


def load_tokenizer(kind: Foreign, folder: Path) -> Foreign:
    """A tokenizer from its folder, offline. Raises `ModelLoadFailed`."""
    if not folder.is_dir():
        raise ModelLoadFailed(f"The model lacks its {folder.name} folder.", path=str(folder))
    for file in sorted(folder.glob("*.json")):
        read_json(file)
    with foreign_errors(ModelLoadFailed):
        return kind.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def variant_of(folder: Path) -> str | None:
    """`fp16` where a folder has only half-precision files under that name, else None."""
    names = [file.name for file in folder.glob("*.safetensors")]
    half = [name for name in names if ".fp16" in name]
    return "fp16" if half and len(half) == len(names) else None


def _outline(kind: Foreign, folder: Path, from_transformers: bool) -> Foreign:
    """The module that the configuration describes, without memory for its weights."""
    with torch.device("meta"):
        if not from_transformers:
            return kind.from_config(kind.load_config(folder, local_files_only=True))
        configuration = getattr(kind, "config_class", None) or AutoConfig
        config = configuration.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False
        )
        return kind.from_config(config) if configuration is AutoConfig else kind(config)


def _check_fits(outline: torch.nn.Module, folder: Path) -> None:
    # The libraries fill what a file lacks with random numbers, for minutes where all of it is.
    needed = sum(parameter.numel() for parameter in outline.parameters())
    files = folder.glob("*.safetensors")
    held = sum(math.prod(entry.shape) for f in files for entry in read_header(f).values())
    if needed > held:
        raise ModelLoadFailed(
            f"The weights of {folder.name} do not belong to its config.", needed=needed, held=held
        )


def _header_bytes(stream: BinaryIO, size: int) -> bytes:
    length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
    if not 0 < length <= min(MAX_HEADER_BYTES, size - _LENGTH_BYTES):
        raise ValueError(f"header of {length} bytes in a file of {size}")
    return stream.read(length)


def _check_entry(file: Path, name: str, entry: Entry, data_bytes: int) -> None:
    begin, end = entry.data_offsets
    item = _ITEM_BYTES.get(entry.dtype)
    whole = item is None or end - begin == math.prod(entry.shape) * item
    if not 0 <= begin <= end <= data_bytes or not whole:
        raise ModelLoadFailed(
            "A weights file is cut short or damaged; fetch it again.", path=str(file), tensor=name
        )


def _digest(root: Path, files: list[Path]) -> str:
    # Two checkpoints of one architecture have equal headers: samples of the data tell them apart.
    total = hashlib.sha256()
    for file in files:
        name = file.name if root.is_file() else file.relative_to(root).as_posix()
        size = file.stat().st_size
        total.update(f"{name}\0{size}\0".encode())
        with file.open("rb") as stream:
            _digest_file(stream, size, total.update)
    return total.hexdigest()


def _digest_file(stream: BinaryIO, size: int, update: Callable[[bytes], None]) -> None:
    update(_header_bytes(stream, size))
    data = stream.tell()
    span = max(size - data - SAMPLE_BYTES, 0)
    for index in range(SAMPLES):
        stream.seek(data + span * index // max(SAMPLES - 1, 1))
        update(stream.read(SAMPLE_BYTES))
