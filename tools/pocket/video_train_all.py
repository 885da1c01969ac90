"""The whole video training in one command: tokenizer, VAE, latent pool, transformer, export.

Everything lands under one folder: ``video`` (the pipeline), ``sheets`` (PNG contact sheets),
``state`` (what ``--resume`` continues from) and ``bundle`` (the pipeline as a tar in parts). Each
is replaced as a whole, so it can be read at any time.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tools.pocket.captions import COLOUR_NAMES, is_held_out
from tools.pocket.motion import MOTION_NAMES, MOTIONS
from tools.pocket.sprites import SpritePack, load_pack
from tools.pocket.video_captions import example_captions
from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_conditioning import Mode
from tools.pocket.video_data import BUCKETS, FRAMES, ClipSource, Order, Purpose
from tools.pocket.video_export import bundle, export_pipeline
from tools.pocket.video_flow import FlowPlan, FlowTrainer, Models
from tools.pocket.video_models import TINY, Sizes, build_text_encoder, build_transformer, build_vae
from tools.pocket.video_pool import LatentPool
from tools.pocket.video_sample import (
    Studio,
    Wish,
    clip_strip,
    contact_sheet,
    sample,
    save_sheet,
)
from tools.pocket.video_tokenizer import load_tokenizer, train_tokenizer
from tools.pocket.video_vae import (
    VaePlan,
    clip_psnr,
    restore_vae,
    save_vae,
    train_vae,
    use_variant_of,
)
from tools.pocket.video_warm import Warmer

SEED = 20_261
TOKENIZER_CAPTIONS = 60_000
POOL_SLOTS = 120_000
TINY_DIVISOR, TINY_SLOTS = 24, 24
_SECONDS = 60.0
_SHEET_ROWS, _TINY_ROWS, _FEW_ROWS = 8, 2, 4
_VAE_SHARE, _POOL_SHARE, _EXPORT_SHARE = 0.28, 0.05, 0.6
_RESERVE_S, _RESERVE_SHARE, _SHORTEST_S = 35.0, 0.25, 5.0
_MEASURING_S, _MEASURING_SHARE, _SHEET_S = 6.0, 0.05, 5.0
_LONGEST_START_S = 120.0
_STARTED_FIELD = 19


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds: of all, until the VAE is done, of filling the pool, kept for the last export."""

    total: float
    vae: float
    pool: float
    reserve: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``video-train-all``."""
    parser.add_argument("--data", type=Path, required=True, help="the packed sprites")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=16.4)
    parser.add_argument(
        "--vae-minutes",
        type=float,
        default=0.0,
        help="until the VAE is done; 0: 28 percent",
    )
    parser.add_argument("--export-minutes", type=float, default=0.0, help="0: once on the way")
    parser.add_argument("--tiny", action="store_true", help="small models and batches: a rehearsal")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--no-compile", action="store_true")


def run(options: argparse.Namespace) -> None:
    """Run every stage; ends by the deadline with a complete export."""
    torch.manual_seed(SEED)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    training = Training(options, device)
    try:
        training.train_vae()
        training.train_flow()
    finally:
        training.finish_warmer()
    print("video-train-all finished", flush=True)


class Training:
    """One run: the clock, the data, and the stages in order."""

    def __init__(self, options: argparse.Namespace, device: torch.device) -> None:
        self._watch = Stopwatch(_process_age())
        self._options, self._device = options, device
        self._times = _times(options)
        self._sizes = TINY if options.tiny else Sizes()
        self._divisor = TINY_DIVISOR if options.tiny else 1
        self._out: Path = options.out
        self._state = self._out / "state"
        self._state.mkdir(parents=True, exist_ok=True)
        self._pack = load_pack(options.data)
        self._tokenizer_folder = self._state / "tokenizer"
        if not self._tokenizer_folder.exists():
            captions = example_captions(self._pack.infos, TOKENIZER_CAPTIONS, SEED)
            train_tokenizer(captions, self._tokenizer_folder)
        self._tokenizer = load_tokenizer(self._tokenizer_folder)
        self._compiles = device.type == "cuda" and not options.no_compile
        self._plan = FlowPlan(
            divisor=self._divisor, seed=SEED, device=device, compiled=self._compiles
        )
        self._warmer: Warmer | None = None
        if self._compiles:
            marker = self._state / "compiler-is-warm"
            self._warmer = Warmer(self._sizes, len(self._tokenizer), self._plan, marker)
        self._source = ClipSource(self._pack, device, SEED)
        self._vae = build_vae(self._sizes)
        ready = f"ready after {self._watch.seconds():.0f} s on {device}"
        print(f"{ready}: {len(self._pack.infos)} sprites", flush=True)

    def train_vae(self) -> None:
        """Train the VAE, or restore it when resuming."""
        weights = self._state / "vae.safetensors"
        measuring = min(_MEASURING_S, self._times.total * _MEASURING_SHARE)
        seconds = max(self._times.vae - self._watch.seconds() - measuring, _SHORTEST_S)
        plan = VaePlan(seconds=seconds, divisor=self._divisor, seed=SEED, device=self._device)
        if not (self._options.resume and weights.exists()):
            self._vae = train_vae(self._vae, self._source, plan)
            save_vae(self._vae, weights)
            return
        self._vae = restore_vae(self._vae, weights).to(self._device)
        use_variant_of(self._vae, self._source, self._device)
        self._vae.requires_grad_(requires_grad=False)
        print(f"vae restored: PSNR {clip_psnr(self._vae, self._source, plan)}", flush=True)

    def train_flow(self) -> None:
        """Fill the pool, train the transformer until the deadline, export now and then."""
        slots = TINY_SLOTS if self._options.tiny else POOL_SLOTS
        pool = LatentPool(
            self._source, self._vae, self._tokenizer, self._device, slots=slots, seed=SEED
        )
        pool.fill(self._times.pool)
        models = Models(
            transformer=build_transformer(self._sizes).to(self._device),
            text_encoder=build_text_encoder(self._sizes, len(self._tokenizer)).to(self._device),
        )
        is_warm = self.finish_warmer()
        print(f"compiler warm: {is_warm}, {self._watch.seconds():.0f} s in all", flush=True)
        trainer = FlowTrainer(models, pool, replace(self._plan, compiled=is_warm))
        progress = self._state / "flow.safetensors"
        if self._options.resume and progress.exists():
            trainer.load(progress)
        sheets = self._sheets(trainer)
        left = self._times.total - self._watch.seconds() - self._times.reserve
        seconds = max(left, _SHORTEST_S)
        every_s = self._options.export_minutes * _SECONDS or seconds * _EXPORT_SHARE

        def report(label: str) -> None:
            try:
                self._export(trainer)
                self._log_export(label)
            except Exception as error:  # noqa: BLE001 - a failed export on the way must not end all
                print(f"export at {label} failed: {error!r}", flush=True)

        try:
            trainer.run(seconds, every_s, report)
        except Exception as error:  # noqa: BLE001 - what is trained so far is still worth exporting
            print(f"training stopped: {error!r}", flush=True)
        self._export(trainer)
        self._log_export("the end")
        self._finish(trainer, sheets)

    def finish_warmer(self) -> bool:
        """End the compiling helper; return whether the compiler's cache is warm."""
        warmer, self._warmer = self._warmer, None
        return warmer.finish() if warmer is not None else False

    def _sheets(self, trainer: FlowTrainer) -> Sheets:
        studio = Studio(
            models=trainer.average, vae=self._vae, tokenizer=self._tokenizer, device=self._device
        )
        rows = _TINY_ROWS if self._options.tiny else _SHEET_ROWS
        return Sheets(studio, self._source, self._pack, self._out / "sheets", rows)

    def _export(self, trainer: FlowTrainer) -> None:
        # A used tokenizer remembers its last truncation: save a fresh one.
        fresh = load_tokenizer(self._tokenizer_folder)
        export_pipeline(trainer.average, self._vae, fresh, self._out / "video")
        bundle(self._out / "video", self._out / "bundle")

    def _log_export(self, label: str) -> None:
        memory = torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
        took = f"{self._watch.seconds():.0f} s in all, peak memory {memory:.1f} GB"
        print(f"exported at {label}, {took}", flush=True)

    def _finish(self, trainer: FlowTrainer, sheets: Sheets) -> None:
        """Draw the sheets and save the state; nothing here may spoil the finished export."""
        try:
            sheets.draw(self._times.total - _SHEET_S - self._watch.seconds(), self._options.tiny)
            bundle(self._out / "sheets", self._out / "bundle")
            print(f"sheets drawn, {self._watch.seconds():.0f} s in all", flush=True)
            if self._watch.seconds() < self._times.total - _SHEET_S or self._options.tiny:
                trainer.save(self._state / "flow.safetensors")
        except Exception as error:  # noqa: BLE001 - the export counts, not the sheets
            print(f"after the export: {error!r}", flush=True)


class Sheets:
    """Contact sheets of the current average: prompts, and every reference mode."""

    def __init__(
        self, studio: Studio, source: ClipSource, pack: SpritePack, folder: Path, rows: int
    ) -> None:
        self._studio, self._source, self._pack = studio, source, pack
        self._folder, self._rows = folder, rows
        self._labels = {info.label: index for index, info in enumerate(pack.infos)}

    def draw(self, seconds: float, quick: bool) -> None:
        """Write the sheets, the telling ones first, while there is time; ``quick``: few steps."""
        watch, steps = Stopwatch(), 3 if quick else 25
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


def _process_age() -> float:
    """Return the seconds since this process began: importing took some of the time already."""
    try:
        fields = Path("/proc/self/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        uptime = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
        age = uptime - float(fields[_STARTED_FIELD]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return 0.0
    return age if 0.0 < age < _LONGEST_START_S else 0.0


def _times(options: argparse.Namespace) -> Times:
    total = options.minutes * _SECONDS
    return Times(
        total=total,
        vae=options.vae_minutes * _SECONDS or total * _VAE_SHARE,
        pool=total * _POOL_SHARE,
        reserve=min(_RESERVE_S, total * _RESERVE_SHARE),
    )
