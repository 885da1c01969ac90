"""From a GGUF file to a model folder, as a command of its own.

`python -m ourvidz_worker.engines.convert SOURCE TARGET NAME`. Done once at set-up: a folder of
safetensors loads in seconds where GGUF takes half a minute. The folder appears whole or not at
all, with an `ourvidz.json` that names the model and holds the digest of every file. Progress goes
to standard output, one JSON object a line.
"""

import argparse
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from ourvidz_worker.engines.native import FILE_NAME

Tell = Callable[[str, float], None]
"""Called with what is done now and the fraction done, 0..1."""

READABLE = 0o644
"""Like any installed file; the library makes its weights private to their owner."""


def main(arguments: Sequence[str]) -> int:
    """Convert as the arguments say; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m ourvidz_worker.engines.convert")
    parser.add_argument("source", type=Path, help="GGUF file")
    parser.add_argument("target", type=Path, help="folder to make")
    parser.add_argument("name", help="the model's name, kept in the folder")
    chosen = parser.parse_args(arguments)
    convert(chosen.source.resolve(), chosen.target.resolve(), chosen.name, _tell_on_stdout)
    return 0


def convert(source: Path, target: Path, name: str, tell: Tell) -> None:
    """Write the model in `source` (GGUF) to the folder `target` (bfloat16 safetensors).

    An existing `target` is replaced. Nothing is read from anywhere but `source`, and no code of
    the model's runs.
    """
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    place = {"gguf_file": source.name, "local_files_only": True, "trust_remote_code": False}
    tell("reading the words", 0.05)
    tokenizer = AutoTokenizer.from_pretrained(source.parent, **place)
    tell("reading the weights", 0.25)
    model = AutoModelForCausalLM.from_pretrained(
        source.parent,
        dtype=torch.bfloat16,
        quantization_config=GgufConfig(dequantize=True),
        **place,
    )
    tell("writing", 0.9)
    tokenizer.model_max_length = model.config.max_position_embeddings
    model.save_pretrained(partial, safe_serialization=True)
    tokenizer.save_pretrained(partial)
    _describe(partial, name, source)
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    tell("done", 1.0)


def _describe(folder: Path, name: str, source: Path) -> None:
    files: dict[str, dict[str, Any]] = {}
    for file in sorted(folder.iterdir()):
        file.chmod(READABLE)
        files[file.name] = {"sha256": _digest(file), "size": file.stat().st_size}
    about = {
        "name": name,
        "made_from": {"file": source.name, "sha256": _digest(source)},
        "made_by": {"transformers": transformers.__version__, "torch": torch.__version__},
        "files": files,
    }
    (folder / FILE_NAME).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _tell_on_stdout(doing: str, fraction: float) -> None:
    sys.stdout.write(json.dumps({"doing": doing, "fraction": fraction}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
