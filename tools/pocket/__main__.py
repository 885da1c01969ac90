"""One command for each stage: ``python -m tools.pocket STAGE --help``."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Callable

# A stage is a module with `add_arguments(parser)` and the named function of the parsed arguments.
# It is imported only when asked for: fetching does not wait for the training libraries.
STAGES: dict[str, tuple[str, str, str]] = {
    "fetch": ("stage_fetch", "run", "download and check the picture and word packages"),
    "sprites": ("stage_sprites", "run", "pack the still sprites into one file"),
    "image-train-all": ("stage_image_train", "run", "train the image model, start to end"),
    "probe-train": ("stage_probe", "run", "train the classifier that judges pictures"),
    "image-eval": ("stage_image_eval", "run", "measure the image model, and draw its sheet"),
    "video-train-all": ("video_train_all", "run", "train the video model, start to end"),
    "chat-eval": ("stage_chat_eval", "run", "time the chat model's first word"),
    "video-eval": ("video_eval", "run", "measure the video model, and draw its sheet"),
}


def main(argv: list[str]) -> int:
    """Run the stage that ``argv`` names."""
    listing = "\n".join(f"  {name:16} {text}" for name, (_, _, text) in STAGES.items())
    parser = argparse.ArgumentParser(
        prog="python -m tools.pocket",
        description=__doc__,
        epilog=f"stages:\n{listing}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("stage", choices=STAGES, metavar="STAGE")
    stage = parser.parse_args(argv[:1]).stage
    name, function, text = STAGES[stage]
    module = importlib.import_module(f"tools.pocket.{name}")
    own = argparse.ArgumentParser(prog=f"python -m tools.pocket {stage}", description=text)
    module.add_arguments(own)
    run: Callable[[argparse.Namespace], None] = getattr(module, function)
    run(own.parse_args(argv[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
