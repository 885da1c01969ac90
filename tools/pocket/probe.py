"""A small classifier that names the object and the background colour of a pocket picture.

It knows twenty of the sprites and every background of the grammar, and is trained on drawn
pictures alone: what it says of a generated picture is a measurement, not the generator's opinion.
It judges all compositions alike, those held out from the image model's training too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as nnf
from safetensors import safe_open
from safetensors.torch import save_file

from tools.pocket.captions import (
    COLOUR_NAMES,
    FLAT,
    GRADIENT,
    LARGE_SIZE,
    SMALL_SIZE,
    Placement,
    Scene,
    is_held_out,
    with_article,
)
from tools.pocket.compose import Composer, Jitter, SceneBatch
from tools.pocket.sprites import SpritePack

# What a person calls it, and the label of its sprite.
OBJECTS: dict[str, str] = {
    "cat": "cat",
    "dog": "dog",
    "car": "automobile",
    "house": "house",
    "tree": "deciduous tree",
    "fish": "fish",
    "sun": "sun",
    "banana": "banana",
    "rocket": "rocket",
    "pizza": "pizza",
    "turtle": "turtle",
    "robot": "robot",
    "boat": "sailboat",
    "birthday cake": "birthday cake",
    "airplane": "airplane",
    "teddy bear": "teddy bear",
    "elephant": "elephant",
    "watermelon": "watermelon",
    "cup of coffee": "hot beverage",
    "alarm clock": "alarm clock",
}
OBJECT_NAMES = tuple(OBJECTS)
# The last one is the background nobody asked for: an answer of its own, so that leaving the
# colour out counts as wrong even where white was asked.
BACKGROUNDS = (*COLOUR_NAMES, "plain")
PROBE_FILE, FIGURES_FILE = "probe.safetensors", "probe.json"
PROBE_PX = 128
_WIDTHS = (32, 64, 96, 128)
_BATCH, _PEAK_RATE, _WARM_SHARE = 64, 4e-3, 0.15
_REPORT_EVERY = 25
_OVERHANG_PX = 4.0
_TILE_PX = 32

Pixels = npt.NDArray[np.uint8]
Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the probe sees in one picture, each with its probability 0..1."""

    object: str
    colour: str
    object_confidence: float
    colour_confidence: float


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt for the image model, and what its picture must show."""

    prompt: str
    object: str
    colour: str
    seed: int


@dataclass(frozen=True)
class Examples:
    """Pictures ``[B, 3, PROBE_PX, PROBE_PX]`` in [-1, 1], with object and colour indices."""

    pictures: torch.Tensor
    objects: torch.Tensor
    colours: torch.Tensor


class ProbeNet(torch.nn.Module):
    """Four convolutions over the picture at half its size, and a head for each question."""

    def __init__(self) -> None:
        super().__init__()
        rows: list[torch.nn.Module] = []
        before = 3
        for index, width in enumerate(_WIDTHS):
            stride = 2 if index < len(_WIDTHS) - 1 else 1
            rows += [torch.nn.Conv2d(before, width, 3, stride, 1, bias=False)]
            rows += [torch.nn.BatchNorm2d(width), torch.nn.ReLU()]
            before = width
        self.body = torch.nn.Sequential(*rows)
        self.objects = torch.nn.Linear(2 * before, len(OBJECT_NAMES))
        self.colours = torch.nn.Linear(2 * before, len(BACKGROUNDS))

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return logits ``[B, objects]`` and ``[B, colours]`` of pictures in [-1, 1]."""
        seen = self.body(nnf.avg_pool2d(pictures, 2))
        both = torch.cat([seen.mean((2, 3)), seen.amax((2, 3))], dim=1)
        return self.objects(both), self.colours(both)


class Probe:
    """A trained probe."""

    def __init__(self, net: ProbeNet) -> None:
        """Take a trained network."""
        self._net = net.eval()

    @torch.no_grad()
    def judge(self, pictures: Iterable[Pixels]) -> list[Verdict]:
        """Return a verdict for each picture (uint8 ``[H, W, 3]``, any size)."""
        return [self._judge(picture) for picture in pictures]

    def _judge(self, picture: Pixels) -> Verdict:
        values = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        if max(values.shape[-2:]) > PROBE_PX:
            scale = PROBE_PX / max(values.shape[-2:])
            values = nnf.interpolate(values, scale_factor=scale, mode="area")
        objects, colours = (logits.softmax(1)[0] for logits in self._net(values))
        best, colour = int(objects.argmax()), int(colours.argmax())
        return Verdict(
            object=OBJECT_NAMES[best],
            colour=BACKGROUNDS[colour],
            object_confidence=float(objects[best]),
            colour_confidence=float(colours[colour]),
        )


def held_out_questions(count: int, seed: int) -> list[Question]:
    """Return prompts of compositions that the image model never saw, all objects equally often."""
    return _questions(count, seed, wanted=True)


def known_questions(count: int, seed: int) -> list[Question]:
    """Return prompts of compositions that may have come up in training, for comparison."""
    return _questions(count, seed, wanted=False)


def object_sprites(pack: SpritePack) -> torch.Tensor:
    """Return the sprites of `OBJECT_NAMES` in order, uint8 ``[20, 4, side, side]``."""
    places = {info.label: index for index, info in enumerate(pack.infos)}
    return pack.rgba[[places[label] for label in OBJECTS.values()]]


def draw_examples(composer: Composer, count: int, generator: torch.Generator) -> Examples:
    """Draw one object each, of any size at any place, on any background."""
    objects = torch.randint(len(OBJECT_NAMES), (count,), generator=generator)
    colours = torch.randint(len(BACKGROUNDS), (count,), generator=generator)
    fills = torch.randint(2, (count,), generator=generator).tolist()
    scenes = [
        Scene(
            placements=(Placement(sprite=thing, column=0, columns=1, size=1.0),),
            colour=colour,
            fill=GRADIENT if fill or BACKGROUNDS[colour] == "plain" else FLAT,
        )
        for thing, colour, fill in zip(objects.tolist(), colours.tolist(), fills, strict=True)
    ]
    batch = SceneBatch.of(scenes)
    chance = composer.uniform((count, 3), generator)
    side = PROBE_PX * (SMALL_SIZE + (LARGE_SIZE - SMALL_SIZE) * chance[:, 0])
    room = (PROBE_PX - side + 2 * _OVERHANG_PX)[:, None]
    centre = PROBE_PX / 2 + (chance[:, 1:] - 0.5) * room
    ground = composer.background(batch, PROBE_PX, PROBE_PX, generator, Jitter())
    boxes = torch.cat([centre, side[:, None]], dim=1)
    return Examples(composer.paste(ground, objects, boxes), objects, colours)


def disturb(pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Return pictures as a generator might draw them: bent, blurred, noisy, mirrored."""
    count = pictures.shape[0]
    chance = torch.rand(count, 8, generator=generator) * 2 - 1
    theta = torch.eye(2, 3).repeat(count, 1, 1)
    theta[:, :, :2] += 0.12 * chance[:, :4].reshape(count, 2, 2)
    theta[:, 0] *= chance[:, 4].sign()[:, None]
    grid = nnf.affine_grid(theta, list(pictures.shape), align_corners=False)
    bent = nnf.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    coarse = nnf.interpolate(nnf.avg_pool2d(bent, 4), scale_factor=4.0, mode="bilinear")
    share = chance[:, 5].clamp(min=0)[:, None, None, None]
    noise = torch.randn(pictures.shape, generator=generator)
    spread = 0.08 * chance[:, 6].abs()[:, None, None, None]
    light = 0.02 * chance[:, 7][:, None, None, None]
    return (bent + share * (coarse - bent) + spread * noise + light).clamp(-1, 1)


def train_probe(composer: Composer, steps: int, seed: int, report: Report) -> ProbeNet:
    """Train on freshly drawn pictures; the result depends on ``steps`` and ``seed`` alone."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    net = ProbeNet().train()
    optimizer = torch.optim.AdamW(net.parameters(), lr=_PEAK_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, _PEAK_RATE, total_steps=steps, pct_start=_WARM_SHARE
    )
    for step in range(1, steps + 1):
        drawn = draw_examples(composer, _BATCH, generator)
        objects, colours = net(disturb(drawn.pictures, generator))
        loss = nnf.cross_entropy(objects, drawn.objects)
        loss = loss + nnf.cross_entropy(colours, drawn.colours)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
        if step % _REPORT_EVERY == 0 or step == steps:
            report(f"step {step}/{steps}  loss {float(loss.detach()):.3f}")
    return net.eval()


@torch.no_grad()
def measure_probe(net: ProbeNet, composer: Composer, count: int, seed: int) -> dict[str, float]:
    """Return the accuracy on ``count`` pictures drawn from another seed, disturbed as well."""
    generator = torch.Generator().manual_seed(seed)
    right = torch.zeros(3)
    for _ in range(0, count, _BATCH):
        drawn = draw_examples(composer, _BATCH, generator)
        objects, colours = net(disturb(drawn.pictures, generator))
        named, coloured = objects.argmax(1) == drawn.objects, colours.argmax(1) == drawn.colours
        right += torch.stack([named.sum(), coloured.sum(), (named & coloured).sum()])
    shares = right / (-(-count // _BATCH) * _BATCH)
    names = ("object_accuracy", "colour_accuracy", "both_accuracy")
    return {name: round(float(share), 4) for name, share in zip(names, shares, strict=True)}


@torch.no_grad()
def measure_shuffled(net: ProbeNet, composer: Composer, count: int, seed: int) -> float:
    """Return how often the object is named in pictures whose tiles were shuffled.

    What is left without form: this much of the object accuracy is owed to colours and details.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = draw_examples(composer, count, generator)
    across = PROBE_PX // _TILE_PX
    tiles = nnf.unfold(drawn.pictures, _TILE_PX, stride=_TILE_PX)
    order = torch.rand(count, 1, across * across, generator=generator).argsort(2)
    shuffled = tiles.gather(2, order.expand_as(tiles))
    pictures = nnf.fold(shuffled, PROBE_PX, _TILE_PX, stride=_TILE_PX)
    return round(float((net(pictures)[0].argmax(1) == drawn.objects).float().mean()), 4)


def save_probe(net: ProbeNet, folder: Path, figures: dict[str, object]) -> None:
    """Write the weights in half precision, and the figures beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: value.half() if value.is_floating_point() else value
        for name, value in net.state_dict().items()
    }
    words = {"objects": json.dumps(OBJECTS), "backgrounds": json.dumps(BACKGROUNDS)}
    save_file(tensors, folder / PROBE_FILE, metadata=words)
    text = json.dumps(figures, indent=2) + "\n"
    (folder / FIGURES_FILE).write_text(text, encoding="utf-8")


def load_probe(folder: Path) -> Probe:
    """Read what `save_probe` wrote. Raises `ValueError` when it knows other words than ours."""
    with safe_open(folder / PROBE_FILE, framework="pt") as stream:
        words = stream.metadata()
        tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 - no mapping
    known = json.loads(words["objects"]), tuple(json.loads(words["backgrounds"]))
    if known != (OBJECTS, BACKGROUNDS):
        raise ValueError("The probe was trained on other words; run the probe-train stage.")
    net = ProbeNet()
    net.load_state_dict(tensors)
    return Probe(net)


def _questions(count: int, seed: int, *, wanted: bool) -> list[Question]:
    asked: list[Question] = []
    for index in range(count):
        name = OBJECT_NAMES[index % len(OBJECT_NAMES)]
        turn = index // len(OBJECT_NAMES)
        colours = [
            colour
            for place, colour in enumerate(COLOUR_NAMES)
            if is_held_out(OBJECTS[name], place) == wanted
        ]
        # Neighbouring objects start at different colours.
        colour = colours[(turn + index) % len(colours)]
        prompt = f"{with_article(name)} on {with_article(colour)} background"
        asked.append(Question(prompt=prompt, object=name, colour=colour, seed=seed + index))
    return asked
