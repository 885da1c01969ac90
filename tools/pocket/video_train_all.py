"""The whole video training in one command: tokenizer, VAE, latent pool, transformer, export.

Everything lands under one folder: ``video`` (the pipeline), ``sheets`` (PNG contact sheets),
``state`` (what ``--resume`` continues from) and ``bundle`` (the pipeline as a tar in parts). Each
is replaced as a whole, so it can be read at any time. A run that was cut off loses what it did
since its state was saved: two minutes of the VAE, ``--export-minutes`` of the transformer.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch

from tools.pocket.sprites import load_pack
from tools.pocket.training import load_modules, load_state, module_tensors, save_state
from tools.pocket.video_captions import example_captions
from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_data import ClipSource
from tools.pocket.video_export import bundle, export_pipeline
from tools.pocket.video_flow import FlowPlan, FlowTrainer, Models
from tools.pocket.video_models import TINY, Sizes, build_text_encoder, build_transformer, build_vae
from tools.pocket.video_pool import LatentPool
from tools.pocket.video_sample import Studio
from tools.pocket.video_sheets import Sheets
from tools.pocket.video_state import is_saved
from tools.pocket.video_tokenizer import load_tokenizer, train_tokenizer
from tools.pocket.video_vae import (
    TUNING_RATE,
    VaePlan,
    clip_psnr,
    restore_vae,
    save_vae,
    train_vae,
    tune_decoder,
    use_variant_of,
)
from tools.pocket.video_warm import Warmer
from tools.pocket.video_words import WordedClips, teach_words, word_clips

SEED = 20_261
TOKENIZER_CAPTIONS = 60_000
POOL_SLOTS = 60_000
TINY_DIVISOR, TINY_SLOTS = 24, 24
_SECONDS = 60.0
_SHEET_ROWS, _TINY_ROWS = 10, 2
_VAE_SHARE, _POOL_SHARE, _WORDS_SHARE, _DECODER_SHARE = 0.29, 0.03, 0.03, 0.055
WORDED, TINY_WORDED = 160_000, 400
WORDS_FILE = "words.safetensors"
VAE_FOLDER, FLOW_FOLDER = "vae-on-the-way", "flow"
_RESERVE_S, _RESERVE_SHARE, _SHORTEST_S = 35.0, 0.25, 5.0
_MEASURING_S, _MEASURING_SHARE, _SHEET_S = 6.0, 0.05, 5.0
_LONGEST_START_S = 120.0
_STARTED_FIELD = 19


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds: in all, until the VAE is done, of the stages after it, kept for the last export."""

    total: float
    vae: float
    pool: float
    words: float
    decoder: float
    reserve: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``video-train-all``."""
    parser.add_argument("--data", type=Path, required=True, help="the packed sprites")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=23.5)
    parser.add_argument(
        "--vae-minutes",
        type=float,
        default=0.0,
        help="until the VAE is done; 0: three tenths",
    )
    parser.add_argument("--decoder-minutes", type=float, default=-1.0, help="-1: 5.5 percent")
    parser.add_argument("--export-minutes", type=float, default=2.5, help="between exports")
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
        self._worded = self._word()
        self._source = ClipSource(self._pack, device, SEED)
        self._vae = build_vae(self._sizes)
        ready = f"ready after {self._watch.seconds():.0f} s on {device}"
        print(f"{ready}: {len(self._pack.infos)} sprites", flush=True)

    def train_vae(self) -> None:
        """Train the VAE, or restore it when resuming."""
        weights = self._state / "vae.safetensors"
        measuring = min(_MEASURING_S, self._times.total * _MEASURING_SHARE)
        seconds = max(self._times.vae - self._watch.seconds() - measuring, _SHORTEST_S)
        progress = self._state / VAE_FOLDER
        if not self._options.resume:
            shutil.rmtree(progress, ignore_errors=True)
        plan = VaePlan(
            seconds=seconds,
            divisor=self._divisor,
            seed=SEED,
            device=self._device,
            progress=progress,
        )
        if not (self._options.resume and weights.exists()):
            self._vae = train_vae(self._vae, self._source, plan)
            save_vae(self._vae, weights)
            shutil.rmtree(progress, ignore_errors=True)
            return
        self._vae = restore_vae(self._vae, weights).to(self._device)
        self._vae.requires_grad_(requires_grad=True)
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
        self._teach_words(models)
        is_warm = self.finish_warmer()
        print(f"compiler warm: {is_warm}, {self._watch.seconds():.0f} s in all", flush=True)
        trainer = FlowTrainer(models, pool, self._plan)
        progress = self._state / FLOW_FOLDER
        if self._options.resume and is_saved(progress):
            trainer.load(progress)
        sheets = self._sheets(trainer)
        kept = self._times.reserve + self._times.decoder
        seconds = max(self._times.total - self._watch.seconds() - kept, _SHORTEST_S)
        every_s = self._options.export_minutes * _SECONDS

        def report(label: str) -> None:
            try:
                trainer.save(progress)
                self._export(trainer)
                self._log_export(label)
                sheets.draw_one(label.split(",")[0].replace(" ", "-"), self._options.tiny)
            except Exception as error:  # noqa: BLE001 - a failed export on the way must not end all
                print(f"export at {label} failed: {error!r}", flush=True)

        try:
            trainer.run(seconds, every_s, report)
        except Exception as error:  # noqa: BLE001 - what is trained so far is still worth exporting
            print(f"training stopped: {error!r}", flush=True)
        trainer.save(progress)
        self._export(trainer)
        self._log_export("the end of the flow")
        self._tune_decoder()
        self._export(trainer)
        self._log_export("the end")
        self._finish(trainer, self._sheets(trainer))

    def _tune_decoder(self) -> None:
        """Sharpen the decoder in the time that is left; the latents stay what they are."""
        left = self._times.total - self._watch.seconds() - self._times.reserve
        if self._times.decoder <= 0:
            return
        plan = VaePlan(
            seconds=max(left, _SHORTEST_S),
            divisor=self._divisor,
            seed=SEED + 1,
            device=self._device,
            peak_rate=TUNING_RATE,
        )
        self._vae = tune_decoder(self._vae, self._source, plan)
        save_vae(self._vae, self._state / "vae-tuned.safetensors")

    def _word(self) -> Future[WordedClips] | None:
        """Word captions in a process of their own, while the VAE trains."""
        if (self._state / WORDS_FILE).exists():
            return None
        count = TINY_WORDED if self._options.tiny else WORDED
        pool = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
        future = pool.submit(word_clips, self._pack.infos, self._tokenizer_folder, count, SEED)
        pool.shutdown(wait=False)
        return future

    def _teach_words(self, models: Models) -> None:
        """Give the text encoder its head start, or take the one that was saved."""
        path, things = self._state / WORDS_FILE, len(self._pack.infos)
        if self._worded is None:
            load_modules(load_state(path), text=models.text_encoder)
            return
        clips = self._worded.result()
        teach_words(models.text_encoder, clips, things, self._times.words, self._device)
        save_state(path, module_tensors(text=models.text_encoder))

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
        """Draw the sheets; nothing here may spoil the finished export."""
        try:
            sheets.draw(self._times.total - _SHEET_S - self._watch.seconds(), self._options.tiny)
            bundle(self._out / "sheets", self._out / "bundle")
            print(f"sheets drawn, {self._watch.seconds():.0f} s in all", flush=True)
        except Exception as error:  # noqa: BLE001 - the export counts, not the sheets
            print(f"after the export: {error!r}", flush=True)


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
    total, decoder = options.minutes * _SECONDS, float(options.decoder_minutes)
    return Times(
        total=total,
        vae=options.vae_minutes * _SECONDS or total * _VAE_SHARE,
        pool=total * _POOL_SHARE,
        words=total * _WORDS_SHARE,
        decoder=total * _DECODER_SHARE if decoder < 0 else decoder * _SECONDS,
        reserve=min(_RESERVE_S, total * _RESERVE_SHARE),
    )
