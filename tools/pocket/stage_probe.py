"""The ``probe-train`` stage's command line."""

from __future__ import annotations

import argparse
import platform
import time
from pathlib import Path

import torch

from tools.pocket.compose import Composer
from tools.pocket.probe import (
    PROBE_FILE,
    measure_probe,
    measure_shuffled,
    object_sprites,
    save_probe,
    train_probe,
)
from tools.pocket.sprites import load_pack

_CHECK_SEED = 7_000_003
_SHUFFLED_COUNT = 512
# Measured with less: an unsure probe measures itself.
_FLOOR = 0.98


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's options."""
    parser.add_argument("--data", type=Path, default=Path(".pocket-data/image.safetensors"))
    parser.add_argument("--out", type=Path, default=Path("models/pocket/probe"))
    parser.add_argument("--steps", type=int, default=450)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--check", type=int, default=4000, help="pictures to measure it on")


def run(arguments: argparse.Namespace) -> None:
    """Train, measure, save."""
    torch.set_num_threads(1)
    composer = Composer(object_sprites(load_pack(arguments.data)), torch.device("cpu"))
    start, begin = time.monotonic(), time.process_time()

    def report(line: str) -> None:
        print(f"{line}  {time.monotonic() - start:.0f} s", flush=True)

    net = train_probe(composer, arguments.steps, arguments.seed, report)
    trained_s = time.process_time() - begin
    # Half precision is what will be used, so it is what is measured.
    net = net.half().float()
    accuracy = measure_probe(net, composer, arguments.check, _CHECK_SEED)
    shuffled = measure_shuffled(net, composer, _SHUFFLED_COUNT, _CHECK_SEED)
    figures = {
        **accuracy,
        "shuffled_tiles_object_accuracy": shuffled,
        "checked_pictures": arguments.check,
        "parameters": sum(weight.numel() for weight in net.parameters()),
        "steps": arguments.steps,
        "seed": arguments.seed,
        "check_seed": _CHECK_SEED,
        "training_cpu_s": round(trained_s, 1),
        "versions": {"torch": torch.__version__, "python": platform.python_version()},
    }
    save_probe(net, arguments.out, figures)
    size = (arguments.out / PROBE_FILE).stat().st_size
    print(f"{accuracy}  {size} bytes in {arguments.out / PROBE_FILE}")
    if min(accuracy["object_accuracy"], accuracy["colour_accuracy"]) < _FLOOR:
        raise SystemExit(f"The probe is below {_FLOOR:.0%}; train it longer with --steps.")
