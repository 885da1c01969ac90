"""Contact sheets of a video model in training: prompts, and every reference mode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from torch import Tensor

from tools.pocket.captions import COLOUR_NAMES, is_held_out
from tools.pocket.motion import MOTION_NAMES, MOTIONS
from tools.pocket.sprites import SpritePack
from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_conditioning import Mode
from tools.pocket.video_data import BUCKETS, FRAMES, ClipSource, Order, Purpose
from tools.pocket.video_sample import Studio, Wish, clip_strip, contact_sheet, sample, save_sheet

_FEW_ROWS = 4
_STEPS, _QUICK_STEPS = 25, 3


class Sheets:
    """Contact sheets of the current average: prompts, and every reference mode."""

    def __init__(
        self, studio: Studio, source: ClipSource, pack: SpritePack, folder: Path, rows: int
    ) -> None:
        self._studio, self._source, self._pack = studio, source, pack
        self._folder, self._rows = folder, rows
        self._labels = {info.label: index for index, info in enumerate(pack.infos)}

    def draw_one(self, label: str, quick: bool) -> None:
        """Write one sheet of prompts, named after the moment; ``quick``: few steps."""
        steps = _QUICK_STEPS if quick else _STEPS
        prompts = example_prompts(self._rows)
        self._write(f"at-{label}", Wish(prompts=prompts, bucket=BUCKETS[0], steps=steps))

    def draw(self, seconds: float, quick: bool) -> None:
        """Write the sheets, the telling ones first, while there is time; ``quick``: few steps."""
        watch, steps = Stopwatch(), _QUICK_STEPS if quick else _STEPS
        prompts = example_prompts(self._rows)
        square, wide = BUCKETS[0], BUCKETS[2]
        few = prompts[:_FEW_ROWS]
        wishes: dict[str, Callable[[], Wish]] = {
            "text-g6.5": lambda: Wish(prompts=prompts, bucket=square, steps=steps),
            "ref-start": lambda: self._reference(Mode.START, steps),
            "ref-single": lambda: self._reference(Mode.SINGLE, steps),
            "text-g1-8": lambda: Wish(
                prompts=few, bucket=square, steps=min(steps, 8), guidance=1.0
            ),
            "still": lambda: Wish(prompts=few, bucket=square, steps=steps, frames=1),
            "wide-g3": lambda: Wish(prompts=few, bucket=wide, steps=steps, guidance=3.0),
            "ref-both": lambda: self._reference(Mode.BOTH, steps),
            "ref-subject": lambda: self._reference(Mode.SUBJECT, steps),
            "ref-end": lambda: self._reference(Mode.END, steps),
        }
        for name, wish in wishes.items():
            if watch.seconds() > seconds and not quick:
                print(f"no time left for sheet {name}", flush=True)
                return
            self._write(name, wish())

    def _reference(self, mode: Mode, steps: int) -> Wish:
        """Take pictures from clips of held-out compositions; the prompt leaves the colour out."""
        names = ("cat", "dog", "rocket", "pizza", "frog", "pineapple", "bicycle", "owl")
        objects = np.array([self._labels[name] for name in names if name in self._labels])
        kinds = np.array([_kind("right"), _kind("spin"), _kind("up"), _kind("left")])
        kinds = np.resize(kinds, len(objects))
        colours = np.array([_held_out_colour(self._pack.infos[index].label) for index in objects])
        order = Order(count=len(objects), bucket=BUCKETS[0], frames=FRAMES, purpose=Purpose.PINNED)
        words = [
            f"a {self._pack.infos[index].label} {MOTIONS[kind].phrases[0]}"
            for index, kind in zip(objects, kinds, strict=True)
        ]
        clips = self._source.render(
            order, objects, kinds, colours, words, np.zeros(len(objects), dtype=bool)
        )
        rows = slice(0, _FEW_ROWS)
        picture = clips.portrait if mode is Mode.SUBJECT else clips.video[:, :, 0]
        return Wish(
            prompts=words[rows],
            bucket=BUCKETS[0],
            mode=mode,
            steps=steps,
            picture=picture[rows],
            last=clips.video[rows, :, -1],
        )

    def _write(self, name: str, wish: Wish) -> None:
        clips = sample(self._studio, wish)
        strips = []
        for row, clip in enumerate(clips):
            frames = (0,) if wish.frames == 1 else (0, 4, 8, 12, 16)
            strip = clip_strip(clip, frames)
            if wish.mode is not Mode.NONE:
                strip = np.concatenate([strip, *_pictures(wish, row)], axis=1)
            strips.append(strip)
        columns = 5 if wish.frames == 1 else 2
        save_sheet(contact_sheet(strips, wish.prompts, columns), self._folder / f"{name}.png")


def example_prompts(count: int) -> list[str]:
    """Return fixed prompts for the sheets, every motion family first."""
    prompts = [
        "a cat slides right on a blue background",
        "a pizza slides left on a green background",
        "a rocket moves up on a purple background",
        "a soccer ball bounces on a yellow background",
        "an apple falls on a white background",
        "a pineapple spins on a pink background",
        "a dog face grows on an orange background",
        "a crown shrinks on a red background",
        "an owl fades in on a teal background",
        "a red heart pulses on a black background",
    ]
    return prompts[:count]


def _pictures(wish: Wish, row: int) -> list[np.ndarray]:
    chosen: list[Tensor] = []
    if wish.mode is not Mode.END and wish.picture is not None:
        chosen.append(wish.picture[row])
    if wish.mode in {Mode.END, Mode.BOTH} and wish.last is not None:
        chosen.append(wish.last[row])
    return [clip_strip(picture[:, None], (0,)) for picture in chosen]


def _kind(name: str) -> int:
    return MOTION_NAMES.index(name)


def _held_out_colour(label: str) -> int:
    held = [index for index in range(len(COLOUR_NAMES)) if is_held_out(label, index)]
    return held[0] if held else 0
