"""The ``sprites`` stage's command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from tools.pocket.fetch import DEFAULT_CACHE, fetch
from tools.pocket.sprites import build_pack


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's options."""
    parser.add_argument("--cache", type=Path, default=DEFAULT_CACHE, help="download folder")
    parser.add_argument("--out", type=Path, default=Path(".pocket-data/image.safetensors"))


def run(arguments: argparse.Namespace) -> None:
    """Pack the sprites."""
    folders = fetch(cache=arguments.cache)
    words = folders["emojibase"], folders["emojilib"]
    count = build_pack(folders["fluent-3d"], *words, arguments.out)
    print(f"{count} sprites in {arguments.out}, {arguments.out.stat().st_size} bytes")
