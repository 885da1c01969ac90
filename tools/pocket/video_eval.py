"""Measures the video model with the worker's own engine, and draws its contact sheet.

The figures stand in ``evaluation.json`` in parts; a part that is not asked for keeps its figures.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from tools.pocket.probe import Probe, load_probe
from tools.pocket.sprites import SpritePack, load_pack
from tools.pocket.video_figures import (
    Report,
    clip_questions,
    draw_answers,
    film_all,
    judge_clips,
    judge_prompts,
    measure_pins,
    measure_references,
    nearness,
    through_autoencoder,
)
from tools.pocket.video_film import DEFAULT, FEW, Camera, ClipSetting, Shot
from tools.pocket.video_judge import Clip
from tools.pocket.video_sample import clip_strip, contact_sheet, save_sheet

# What the model was built to reach.
SSIM_FLOOR, MOTION_FLOOR, CLIP_LIMIT_S = 0.8, 0.7, 15.0
OBJECT_FLOOR, COLOUR_FLOOR = 0.8, 0.9
# Three of four drawn clips that stand still differ less from frame to frame.
LIVELINESS_FLOOR = 0.005
EVALUATION_FILE = "evaluation.json"
SETTINGS = (
    ClipSetting(steps=10, guidance=4.0),
    ClipSetting(steps=25, guidance=2.5),
)
SHEET_PROMPTS = (
    "a cat slides right on a blue background",
    "a pizza slides left on a green background",
    "a rocket moves up on a purple background",
    "an apple falls on a white background",
    "a soccer ball bounces on a yellow background",
    "a pineapple spins on a pink background",
    "a dog face grows on an orange background",
    "a crown shrinks on a red background",
    "a red apple spins on a blue background",
    "a car slides left on a gray background",
    "an airplane flies to the right on a teal background",
    "a teddy bear jumps on a brown background",
    "a smiling face with sunglasses grows on a black background",
    "a fish moves in a circle on a blue background",
    "a birthday cake stands still on a pink background",
    "a red heart pulses on a white background",
)
_SEED = 2000
# Held frames are all but copies: fewer show it.
_FREE_CLIPS, _HELD_CLIPS, _REFERENCES, _DECODED, _SETTING_CLIPS = 8, 4, 4, 8, 16

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Bench:
    camera: Camera
    probe: Probe
    pack: SpritePack
    model: Path
    folder: Path
    sheet: Path
    report: Report
    clips: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the stage's options."""
    parser.add_argument("--model", type=Path, default=Path("models/pocket/video"))
    parser.add_argument("--probe", type=Path, default=Path("models/pocket/probe"))
    parser.add_argument("--data", type=Path, default=Path(".pocket-data/image.safetensors"))
    parser.add_argument("--out", type=Path, help="figures; default evaluation.json in the model")
    parser.add_argument("--sheet", type=Path, default=Path("docs/screens/pocket-clips.png"))
    parser.add_argument("--clips", type=int, default=40, help="held-out prompts a setting")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")


def run(arguments: argparse.Namespace) -> None:
    """Measure the asked parts and write them after each, then what was reached."""
    start = time.monotonic()
    ends = "\r" if os.isatty(1) else "\n"

    def report(line: str) -> None:
        print(f"{time.monotonic() - start:5.0f} s  {line:60}", end=ends, flush=True)

    out = arguments.out or arguments.model / EVALUATION_FILE
    with tempfile.TemporaryDirectory() as folder:
        bench = _Bench(
            camera=Camera(arguments.model, Path(folder) / "spool"),
            probe=load_probe(arguments.probe),
            pack=load_pack(arguments.data),
            model=arguments.model,
            folder=Path(folder),
            sheet=arguments.sheet,
            report=report,
            clips=arguments.clips,
        )
        bench.camera.film(Shot(prompt="warm-up", seed=0, setting=FEW))
        for name in arguments.parts:
            figures = PARTS[name](bench)
            keep_part(out, name, figures, _facts(bench))
    print(f"\nfigures in {out}")


def keep_part(out: Path, name: str, figures: Figures, facts: Figures) -> None:
    """Write a part's figures beside those that stand there, and what was reached by now."""
    old: Figures = json.loads(out.read_text("utf-8")) if out.exists() else {}
    parts = {part: old[part] for part in PARTS if part in old}
    if figures:
        parts[name] = figures
    ordered = {part: parts[part] for part in PARTS if part in parts}
    text = json.dumps({"reached": reached(ordered), **facts, **ordered}, indent=2)
    out.write_text(text + "\n", encoding="utf-8")


def reached(parts: Figures) -> Figures:
    """What was to be reached, what was, and whether that is enough."""
    rows: Figures = {}
    if "default" in parts:
        made = parts["default"]
        rows["thing_right"] = _at_least(made["object_accuracy"], OBJECT_FLOOR)
        rows["background_right"] = _at_least(made["colour_accuracy"], COLOUR_FLOOR)
        rows["motion_followed"] = _at_least(made["motion_followed"], MOTION_FLOOR)
        rows["frame_difference"] = _at_least(made["frame_difference_mean"], LIVELINESS_FLOOR)
        within = made["cpu_s"] <= CLIP_LIMIT_S
        rows["cpu_s_a_clip"] = {
            "measured": made["cpu_s"],
            "at_most": CLIP_LIMIT_S,
            "reached": within,
        }
    for part in ("pinned_free", "pinned_held"):
        if part in parts:
            means = [row["ssim_mean"] for mode in parts[part].values() for row in mode]
            rows[f"{part}_ssim_least_mode"] = _at_least(min(means), SSIM_FLOOR)
    return rows


def _at_least(measured: float, floor: float) -> Figures:
    return {"measured": measured, "at_least": floor, "reached": measured >= floor}


def _ceilings(bench: _Bench) -> Figures:
    """How the judgements fare on drawn clips, and on those after the autoencoder."""
    drawing = draw_answers(bench.pack, clip_questions(bench.clips, _SEED), _SEED)
    bench.report("drawn clips through the autoencoder")
    asked, clips = drawing.questions[:_DECODED], drawing.clips[:_DECODED]
    decoded = through_autoencoder(bench.model, clips)
    return {
        "drawn": asdict(judge_clips(drawing.clips, drawing.questions, bench.probe)),
        "autoencoder": asdict(judge_clips(decoded, asked, bench.probe)),
        "autoencoder_nearness": [asdict(row) for row in nearness(decoded, clips)],
    }


def _default(bench: _Bench) -> Figures:
    return _prompts(bench, DEFAULT, bench.clips)


def _few(bench: _Bench) -> Figures:
    return _prompts(bench, FEW, bench.clips)


def _pinned_free(bench: _Bench) -> Figures:
    return _pins(bench, held=False)


def _pinned_held(bench: _Bench) -> Figures:
    return _pins(bench, held=True)


def _references(bench: _Bench) -> Figures:
    drawing = draw_answers(bench.pack, clip_questions(_REFERENCES, _SEED), _SEED)
    rows = measure_references(bench.camera, drawing, bench.folder / "references", bench.report)
    return {mode: asdict(row) for mode, row in rows.items()}


def _settings(bench: _Bench) -> Figures:
    count = min(_SETTING_CLIPS, bench.clips)
    return {
        f"{row.steps} steps, guidance {row.guidance:g}, shift {row.shift:g}": _prompts(
            bench, row, count
        )
        for row in SETTINGS
    }


def _sheet(bench: _Bench) -> Figures:
    """Draw `SHEET_PROMPTS` at the default settings, prompt i with seed i."""
    strips, labels = [], []
    for seed, prompt in enumerate(SHEET_PROMPTS):
        clip = bench.camera.film(Shot(prompt=prompt, seed=seed)).clip
        strips.append(clip_strip(_values(clip)))
        labels.append(f"{prompt}  (frames 0, 4, 8, 12, 16)")
        bench.report(f"contact sheet: {seed + 1}/{len(SHEET_PROMPTS)}")
    save_sheet(contact_sheet(strips, labels), bench.sheet)
    return {}


PARTS: dict[str, Callable[[_Bench], Figures]] = {
    "sheet": _sheet,
    "default": _default,
    "pinned_free": _pinned_free,
    "pinned_held": _pinned_held,
    "few_steps": _few,
    "references": _references,
    "ceilings": _ceilings,
    "settings": _settings,
}


def _prompts(bench: _Bench, setting: ClipSetting, count: int) -> Figures:
    questions = clip_questions(count, _SEED)
    made = film_all(bench.camera, questions, setting, bench.report)
    return asdict(judge_prompts(made, questions, bench.probe, setting))


def _pins(bench: _Bench, *, held: bool) -> Figures:
    count = _HELD_CLIPS if held else _FREE_CLIPS
    drawing = draw_answers(bench.pack, clip_questions(count, _SEED), _SEED)
    folder = bench.folder / ("held" if held else "free")
    rows = measure_pins(bench.camera, drawing, folder, held=held, report=bench.report)
    return {mode: [asdict(row) for row in figures] for mode, figures in rows.items()}


def _facts(bench: _Bench) -> Figures:
    """Where the figures come from."""
    return {
        "model_digest": bench.camera.digest,
        "seed": _SEED,
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), **bench.camera.versions},
    }


def _values(clip: Clip) -> torch.Tensor:
    """Turn pixels into values ``[3, T, H, W]`` in [-1, 1]."""
    return torch.from_numpy(clip.copy()).permute(3, 0, 1, 2).float() / 127.5 - 1
