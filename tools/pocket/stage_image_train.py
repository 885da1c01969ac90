"""The ``image-train-all`` stage's command line."""

from __future__ import annotations

import argparse
from dataclasses import fields
from pathlib import Path

from tools.pocket.image_run import RunOptions, train_all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's options."""
    parser.add_argument("--data", type=Path, required=True, help="the packed sprites")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything written")
    parser.add_argument("--minutes", type=float, required=True, help="wall-clock time in all")
    parser.add_argument("--vae-share", type=float, default=0.22, help="of the time, with set-up")
    parser.add_argument("--publish-minutes", type=float, default=4.0, help="between checkpoints")
    parser.add_argument("--seed", type=int, default=20_240)
    parser.add_argument("--captions", type=int, default=400_000, help="worded scenes to draw from")
    parser.add_argument("--workers", type=int, default=6, help="processes that word scenes")
    parser.add_argument("--batch", type=int, default=512, help="pictures in a denoiser step")
    parser.add_argument("--vae-batch", type=int, default=64, help="pictures in a VAE step")
    parser.add_argument("--sprites", type=int, default=0, help="use the first N only; 0 is all")
    parser.add_argument("--tiny", action="store_true", help="a shape that proves the path only")
    parser.add_argument("--no-compile", dest="compiles", action="store_false")
    parser.add_argument("--warm", type=Path, help="go on from this trained model's weights")
    parser.add_argument("--decoder-share", type=float, default=0.08, help="with --warm")
    parser.add_argument("--resume", action="store_true", help="go on from the saved state")


def run(arguments: argparse.Namespace) -> None:
    """Train."""
    names = (item.name for item in fields(RunOptions))
    train_all(RunOptions(**{name: getattr(arguments, name) for name in names}))
