"""The figures of the video model: prompts followed, pinned frames kept, references told apart."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from PIL import Image

from ourvidz_worker.engines.adherence import psnr, ssim
from ourvidz_worker.engines.device import Foreign
from tools.pocket.captions import COLOUR_NAMES, is_held_out, with_article
from tools.pocket.motion import MOTION_NAMES
from tools.pocket.probe import OBJECT_NAMES, OBJECTS, Probe
from tools.pocket.sprites import SpritePack
from tools.pocket.video_conditioning import PINS_FIRST, PINS_LAST, Mode
from tools.pocket.video_data import ClipSource, Order, Purpose
from tools.pocket.video_film import BUCKET, FRAMES, FREE, HELD, Camera, ClipSetting, Filmed, Shot
from tools.pocket.video_judge import WORDS, Clip, background_name, follows, liveliness, track

PINNING_MODES = (Mode.SINGLE, Mode.START, Mode.END, Mode.BOTH)
REFERENCE_MODES = (Mode.SINGLE, Mode.SUBJECT)
_HALF = 127.5
_KINDS = tuple(WORDS)

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ClipQuestion:
    """A prompt and what its clip must show; object and colour were never seen together."""

    prompt: str
    object: str
    colour: str
    kind: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class ClipFigures:
    """How well clips follow their prompts, shares 0..1.

    ``motion_by_chance`` is how often a clip satisfies the rule of a word that nobody asked for;
    ``object_accuracy`` is the probe's word on the middle frame, among 20.
    """

    clips: int
    motion_followed: float
    motion_by_chance: float
    motion_by_word: dict[str, float]
    colour_accuracy: float
    object_accuracy: float
    frame_difference_mean: float
    frame_difference_worst: float


@dataclass(frozen=True, kw_only=True)
class PromptFigures(ClipFigures):
    """The same at one setting, with the median seconds a clip took, one thread."""

    steps: int
    guidance: float
    shift: float
    cpu_s: float
    wall_s: float


@dataclass(frozen=True, kw_only=True)
class PinFigures:
    """Structural similarity of pinned frames and their references, one mode, one frame."""

    frame: str
    clips: int
    ssim_mean: float
    ssim_worst: float
    psnr_db_mean: float


@dataclass(frozen=True, kw_only=True)
class ReferenceFigures:
    """Two references, one prompt, one seed: mean distance (0..1) of the two clips."""

    pairs: int
    distance_mean: float
    distance_least: float
    nearer_to_own_reference: float


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """Drawn clips ``[T, H, W, 3]`` and the questions that they answer."""

    questions: tuple[ClipQuestion, ...]
    clips: tuple[Clip, ...]


def clip_questions(count: int, seed: int) -> list[ClipQuestion]:
    """Return prompts of held-out compositions; objects, motions and colours come in turns."""
    asked = []
    for index in range(count):
        name, kind = OBJECT_NAMES[index % len(OBJECT_NAMES)], _KINDS[index % len(_KINDS)]
        label = OBJECTS[name]
        colours = [word for place, word in enumerate(COLOUR_NAMES) if is_held_out(label, place)]
        colour = colours[index % len(colours)]
        prompt = f"{with_article(name)} {WORDS[kind]} on {with_article(colour)} background"
        row = ClipQuestion(prompt=prompt, object=name, colour=colour, kind=kind, seed=seed + index)
        asked.append(row)
    return asked


def draw_answers(pack: SpritePack, questions: Sequence[ClipQuestion], seed: int) -> Drawing:
    """Draw what was asked, as the training data would look."""
    places = {info.label: index for index, info in enumerate(pack.infos)}
    source = ClipSource(pack, torch.device("cpu"), seed)
    order = Order(count=len(questions), bucket=BUCKET, frames=FRAMES, purpose=Purpose.TEXT)
    drawn = source.render(
        order,
        np.array([places[OBJECTS[row.object]] for row in questions]),
        np.array([MOTION_NAMES.index(row.kind) for row in questions]),
        np.array([COLOUR_NAMES.index(row.colour) for row in questions]),
        [row.prompt for row in questions],
        np.ones(len(questions), dtype=bool),
    )
    return Drawing(questions=tuple(questions), clips=tuple(_pixels(video) for video in drawn.video))


def film_all(
    camera: Camera, questions: Sequence[ClipQuestion], setting: ClipSetting, report: Report
) -> list[Filmed]:
    """Film every question."""
    made = []
    for number, row in enumerate(questions, 1):
        made.append(camera.film(Shot(prompt=row.prompt, seed=row.seed, setting=setting)))
        report(f"{setting.steps} steps, guidance {setting.guidance:g}: {number}/{len(questions)}")
    return made


def judge_clips(
    clips: Sequence[Clip], questions: Sequence[ClipQuestion], probe: Probe
) -> ClipFigures:
    """Compare what clips show with what was asked."""
    ways = [track(clip) for clip in clips]
    asked = [follows(row.kind, way) for row, way in zip(questions, ways, strict=True)]
    others = [
        follows(kind, way)
        for row, way in zip(questions, ways, strict=True)
        for kind in WORDS
        if kind != row.kind
    ]
    seen = probe.judge(clip[len(clip) // 2] for clip in clips)
    lively = [liveliness(clip) for clip in clips]
    return ClipFigures(
        clips=len(clips),
        motion_followed=_share(asked),
        motion_by_chance=_share(others),
        motion_by_word={
            phrase: _share(
                [hit for hit, row in zip(asked, questions, strict=True) if row.kind == kind]
            )
            for kind, phrase in WORDS.items()
        },
        colour_accuracy=_share(
            [
                background_name(clip) == row.colour
                for clip, row in zip(clips, questions, strict=True)
            ]
        ),
        object_accuracy=_share(
            [verdict.object == row.object for verdict, row in zip(seen, questions, strict=True)]
        ),
        frame_difference_mean=round(statistics.fmean(lively), 4),
        frame_difference_worst=round(min(lively), 4),
    )


def judge_prompts(
    made: Sequence[Filmed],
    questions: Sequence[ClipQuestion],
    probe: Probe,
    setting: ClipSetting,
) -> PromptFigures:
    """Judge filmed questions, with their setting and times."""
    figures = judge_clips([filmed.clip for filmed in made], questions, probe)
    return PromptFigures(
        **vars(figures),
        steps=setting.steps,
        guidance=setting.guidance,
        shift=setting.shift,
        cpu_s=round(statistics.median(filmed.cpu_s for filmed in made), 2),
        wall_s=round(statistics.median(filmed.wall_s for filmed in made), 2),
    )


def measure_pins(
    camera: Camera, drawing: Drawing, folder: Path, *, held: bool, report: Report
) -> dict[str, list[PinFigures]]:
    """Film every drawn clip from its own first and last frame, in each pinning mode.

    ``held`` writes the pinned frames over the latents at every step, as jobs do by default;
    otherwise the frames are the model's own.
    """
    files = [_save_ends(clip, folder / f"{index}") for index, clip in enumerate(drawing.clips)]
    rows: dict[str, list[PinFigures]] = {}
    for mode in PINNING_MODES:
        told = []
        for row, pictures in zip(drawing.questions, files, strict=True):
            shot = Shot(
                prompt=row.prompt,
                seed=row.seed,
                mode=mode,
                pictures=pictures,
                strength=HELD if held else FREE,
            )
            told.append(camera.film(shot).effective)
            report(f"{mode.value}, {'held' if held else 'free'}: {len(told)}/{len(files)}")
        ends = [("first", PINS_FIRST), ("last", PINS_LAST)]
        rows[mode.value] = [
            _pin_figures(
                name,
                [float(str(row[f"{name}_frame_ssim"])) for row in told],
                [float(str(row[f"{name}_frame_psnr_db"])) for row in told],
            )
            for name, modes in ends
            if mode in modes
        ]
    return rows


def measure_references(
    camera: Camera, drawing: Drawing, folder: Path, report: Report
) -> dict[str, ReferenceFigures]:
    """Film neighbours' pictures in pairs: same prompt, same seed, another reference."""
    files = [_save_ends(clip, folder / f"{index}") for index, clip in enumerate(drawing.clips)]
    rows = {}
    for mode in REFERENCE_MODES:
        apart, own = [], []
        for index in range(0, len(files) - 1, 2):
            pair = [
                camera.film(Shot(prompt="moves right", seed=index, mode=mode, pictures=pictures))
                for pictures in files[index : index + 2]
            ]
            clips = [filmed.clip for filmed in pair]
            starts = [drawing.clips[index][0], drawing.clips[index + 1][0]]
            apart.append(_distance(clips[0], clips[1]))
            own += [
                _distance(clips[at][0], starts[at]) < _distance(clips[at][0], starts[1 - at])
                for at in (0, 1)
            ]
            report(f"two references, {mode.value}: {len(apart)} pairs")
        rows[mode.value] = ReferenceFigures(
            pairs=len(apart),
            distance_mean=round(statistics.fmean(apart), 4),
            distance_least=round(min(apart), 4),
            nearer_to_own_reference=_share(own),
        )
    return rows


@torch.no_grad()
def through_autoencoder(model: Path, clips: Sequence[Clip]) -> list[Clip]:
    """Return clips after the model's VAE: the most that any denoiser could reach."""
    loader: Foreign = AutoencoderKLWan
    vae = loader.from_pretrained(model / "vae", torch_dtype=torch.float32).eval()
    made = []
    for clip in clips:
        values = torch.from_numpy(clip.copy()).permute(3, 0, 1, 2)[None].float() / _HALF - 1
        made.append(_pixels(vae.decode(vae.encode(values).latent_dist.mode()).sample[0]))
    return made


def nearness(made: Sequence[Clip], drawn: Sequence[Clip]) -> list[PinFigures]:
    """Return how near the first and last frames of clips are to the drawn ones."""
    rows = []
    for name, frame in (("first", 0), ("last", -1)):
        pairs = [(one[frame], other[frame]) for one, other in zip(made, drawn, strict=True)]
        rows.append(
            _pin_figures(name, [ssim(*pair) for pair in pairs], [psnr(*pair) for pair in pairs])
        )
    return rows


def _pin_figures(frame: str, alike: Sequence[float], decibels: Sequence[float]) -> PinFigures:
    return PinFigures(
        frame=frame,
        clips=len(alike),
        ssim_mean=round(statistics.fmean(alike), 4),
        ssim_worst=round(min(alike), 4),
        psnr_db_mean=round(statistics.fmean(decibels), 2),
    )


def _save_ends(clip: Clip, folder: Path) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    first, last = folder / "first.png", folder / "last.png"
    Image.fromarray(clip[0]).save(first)
    Image.fromarray(clip[-1]).save(last)
    return {"image": first, "first": first, "last": last}


def _pixels(video: torch.Tensor) -> Clip:
    """Turn values ``[3, T, H, W]`` in [-1, 1] into pixels."""
    rows = ((video.clamp(-1, 1) + 1) * _HALF).round().to(torch.uint8).permute(1, 2, 3, 0)
    return np.ascontiguousarray(rows.numpy())


def _distance(one: Clip, other: Clip) -> float:
    return float(np.abs(one.astype(np.float64) - other.astype(np.float64)).mean() / (2 * _HALF))


def _share(hits: Sequence[bool]) -> float:
    return round(sum(map(bool, hits)) / len(hits), 4)
