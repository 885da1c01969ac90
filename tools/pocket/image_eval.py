"""Measures the image model: does it draw what was asked, keep to a reference, and how fast.

All pictures come from the worker's own engine at the contract's settings. What they show is
judged by the probe, on compositions that the model never saw in training.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

from ourvidz_worker.engines.adherence import psnr
from ourvidz_worker.engines.device import Foreign
from tools.pocket.captions import COLOUR_NAMES, FLAT, NORMAL_SIZE, Placement, Scene
from tools.pocket.compose import Composer, Jitter, SceneBatch
from tools.pocket.image_export import SampleSetting
from tools.pocket.image_paint import DEFAULT, Painted, Painter
from tools.pocket.probe import OBJECT_NAMES, PROBE_PX, Pixels, Probe, Question
from tools.pocket.silhouette import Outlines, ShapeFigures

STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
_FULL = 255.0

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Seconds that a picture took."""

    median: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A picture that does not show what was asked."""

    prompt: str
    seed: int
    object_seen: str
    colour_seen: str


@dataclass(frozen=True, kw_only=True)
class PromptFigures:
    """How well prompts were followed at one setting; accuracies 0..1."""

    steps: int
    guidance: float
    pictures: int
    object_accuracy: float
    colour_accuracy: float
    shape: ShapeFigures
    cpu_s: Seconds
    wall_s: Seconds
    misses: tuple[Miss, ...]


@dataclass(frozen=True, kw_only=True)
class DistanceFigures:
    """Mean distance (0..1) to the reference at each strength."""

    references: int
    mean_distance: dict[str, float]
    grows_steadily: bool


@dataclass(frozen=True, kw_only=True)
class CopyFigures:
    """How near pictures came to their references."""

    pictures: int
    psnr_db_mean: float
    psnr_db_worst: float


@dataclass(frozen=True, kw_only=True)
class AutoencoderFigures(CopyFigures):
    """The same for the autoencoder alone, and how many objects the probe still knows.

    The accuracy is the most that a perfect denoiser could reach with this autoencoder.
    """

    object_accuracy: float


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A drawn picture to start from, and a prompt that asks for something else."""

    path: Path
    pixels: Pixels
    prompt: str


@dataclass(frozen=True, kw_only=True)
class Judges:
    """What looks at pictures: the probe at all of one, the outlines at the object's form."""

    probe: Probe
    outlines: Outlines


def measure_prompts(
    painter: Painter,
    judges: Judges,
    questions: Sequence[Question],
    setting: SampleSetting,
    report: Report,
) -> PromptFigures:
    """Draw every question and compare what the probe sees with what was asked."""
    painted: list[Painted] = []
    for number, question in enumerate(questions, 1):
        painted.append(painter.paint(question.prompt, setting, question.seed))
        report(f"{setting.steps} steps, guidance {setting.guidance:g}: {number}/{len(questions)}")
    pictures = [picture.pixels for picture in painted]
    verdicts = judges.probe.judge(pictures)
    pairs = list(zip(questions, verdicts, strict=True))
    return PromptFigures(
        steps=setting.steps,
        guidance=setting.guidance,
        pictures=len(questions),
        object_accuracy=_share([seen.object == asked.object for asked, seen in pairs]),
        colour_accuracy=_share([seen.colour == asked.colour for asked, seen in pairs]),
        shape=judges.outlines.measure(pictures, [asked.object for asked in questions]),
        cpu_s=_seconds([picture.cpu_s for picture in painted]),
        wall_s=_seconds([picture.wall_s for picture in painted]),
        misses=tuple(
            Miss(
                prompt=asked.prompt,
                seed=asked.seed,
                object_seen=seen.object,
                colour_seen=seen.colour,
            )
            for asked, seen in pairs
            if (seen.object, seen.colour) != (asked.object, asked.colour)
        ),
    )


def draw_references(composer: Composer, count: int, seed: int, folder: Path) -> list[Reference]:
    """Draw ``count`` pictures to start from; the composer holds the probe's sprites in order."""
    folder.mkdir(parents=True, exist_ok=True)
    colours = [(index * 5 + 1) % len(COLOUR_NAMES) for index in range(count)]
    made = []
    for index, pixels in enumerate(_draw(composer, list(range(count)), colours, seed)):
        path = folder / f"reference-{index:02d}.png"
        Image.fromarray(pixels).save(path)
        other = OBJECT_NAMES[(index + len(OBJECT_NAMES) // 2) % len(OBJECT_NAMES)]
        colour = COLOUR_NAMES[(colours[index] + len(COLOUR_NAMES) // 2) % len(COLOUR_NAMES)]
        prompt = f"{other} on {colour} background"
        made.append(Reference(path=path, pixels=pixels, prompt=prompt))
    return made


def measure_drawn(
    composer: Composer, outlines: Outlines, questions: Sequence[Question], seed: int
) -> ShapeFigures:
    """Return the outlines' figures for drawn pictures of the same compositions: the ceiling."""
    names = [question.object for question in questions]
    objects = [OBJECT_NAMES.index(name) for name in names]
    colours = [COLOUR_NAMES.index(question.colour) for question in questions]
    return outlines.measure(_draw(composer, objects, colours, seed), names)


def measure_references(
    painter: Painter, references: Sequence[Reference], seed: int, report: Report
) -> DistanceFigures:
    """Return the mean distance (0..1) to the reference at each strength."""
    rows: dict[str, float] = {}
    for strength in STRENGTHS:
        distances = []
        for index, reference in enumerate(references):
            picture = painter.modify(
                reference.path, strength, reference.prompt, DEFAULT, seed + index
            )
            distances.append(distance(picture.pixels, reference.pixels))
        rows[f"{strength:g}"] = round(statistics.fmean(distances), 4)
        report(f"image-to-image at strength {strength:g}: {len(references)} pictures")
    values = list(rows.values())
    return DistanceFigures(
        references=len(references),
        mean_distance=rows,
        grows_steadily=all(before < after for before, after in pairwise(values)),
    )


def measure_copies(
    painter: Painter, references: Sequence[Reference], seed: int, report: Report
) -> CopyFigures:
    """Return how near copies come to their references, dB."""
    values = []
    for number, reference in enumerate(references, 1):
        values.append(psnr(painter.copy(reference.path, seed).pixels, reference.pixels))
        report(f"copies: {number}/{len(references)}")
    return _decibels(values)


@torch.no_grad()
def measure_vae(model: Path, references: Sequence[Reference], probe: Probe) -> AutoencoderFigures:
    """Encode and decode the references, which come in the order of `OBJECT_NAMES`."""
    loader: Foreign = AutoencoderKL
    vae = loader.from_pretrained(model / "vae", torch_dtype=torch.float32).eval()
    values, pictures = [], []
    for reference in references:
        picture = torch.from_numpy(reference.pixels.copy()).permute(2, 0, 1)[None] / (_FULL / 2) - 1
        decoded = vae.decode(vae.encode(picture).latent_dist.mode()).sample.clamp(-1, 1)[0]
        pixels = ((decoded + 1) * _FULL / 2).round().to(torch.uint8).permute(1, 2, 0).numpy()
        pictures.append(np.ascontiguousarray(pixels))
        values.append(psnr(pictures[-1], reference.pixels))
    seen = probe.judge(pictures)
    known = [verdict.object == OBJECT_NAMES[index] for index, verdict in enumerate(seen)]
    near = _decibels(values)
    return AutoencoderFigures(**asdict(near), object_accuracy=_share(known))


def distance(one: Pixels, other: Pixels) -> float:
    """Return the mean absolute difference of two pictures, 0..1."""
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).mean() / _FULL)


def _draw(
    composer: Composer, objects: Sequence[int], colours: Sequence[int], seed: int
) -> list[Pixels]:
    scenes = [
        Scene(
            placements=(Placement(sprite=thing, column=0, columns=1, size=NORMAL_SIZE),),
            colour=colour,
            fill=FLAT,
        )
        for thing, colour in zip(objects, colours, strict=True)
    ]
    generator = torch.Generator().manual_seed(seed)
    drawn = composer.draw(SceneBatch.of(scenes), PROBE_PX, PROBE_PX, generator, Jitter())
    rows = ((drawn + 1) * _FULL / 2).round().to(torch.uint8).permute(0, 2, 3, 1)
    return [np.ascontiguousarray(row.numpy()) for row in rows]


def _share(hits: Sequence[bool]) -> float:
    return round(sum(hits) / len(hits), 4)


def _seconds(values: Sequence[float]) -> Seconds:
    tenths = statistics.quantiles([*values, values[-1]], n=10)
    return Seconds(median=round(statistics.median(values), 2), p90=round(tenths[-1], 2))


def _decibels(values: Sequence[float]) -> CopyFigures:
    return CopyFigures(
        pictures=len(values),
        psnr_db_mean=round(statistics.fmean(values), 2),
        psnr_db_worst=round(min(values), 2),
    )
