"""The ``fetch`` stage's command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.pocket.fetch import DEFAULT_CACHE, MOVING_KEYS, STILL_KEYS, fetch


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's options."""
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="download folder")
    parser.add_argument("--moving", action="store_true", help="also the animated pictures")


def run(arguments: argparse.Namespace) -> None:
    """Download, check and unpack."""
    keys = STILL_KEYS + (MOVING_KEYS if arguments.moving else ())
    for key, folder in fetch(keys, arguments.cache).items():
        print(f"{key}: {folder}")
