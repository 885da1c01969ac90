"""Flow matching: training of the transformer on the words of a finished text encoder.

With noise e and data z, x = (1 - sigma) z + sigma e and the target is (x - z) / sigma = e - z. A
sigma is drawn uniformly and shifted, s sigma / (1 + (s - 1) sigma), with s itself drawn from 1 to
5: the sampler's shift is 5, the lower ones keep small sigmas trained. Some captions are replaced by
the empty text. At first most batches are stills, a fifth of a clip's price each: what things look
like is learnt from them, and how things move from the clips that follow.

The text encoder stays as its lesson left it. Trained along, it gives nearly all of its room to the
backgrounds' colours, which change the loss most, and names of things drown.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from tools.pocket.graphed import Losses
from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_data import BUCKETS
from tools.pocket.video_lean import Block, LeanFlow, run_block
from tools.pocket.video_models import PADDED_LENGTHS, encode_text, pad_bias, plain_view
from tools.pocket.video_muon import Muon
from tools.pocket.video_pool import Batch, Kind
from tools.pocket.video_state import indexed, load_parts, restore, save_parts
from tools.pocket.video_types import PlainTransformer, VaceTransformer

LEARNING_RATE, MATRIX_RATE, FINAL_SHARE = 1.2e-3, 0.02, 0.008
WARM_UP_STEPS = 300
WEIGHT_DECAY = 0.01
AVERAGE_DECAY = 0.9995
CLIP_NORM = 1.0
NO_TEXT_SHARE = 0.12
LOWEST_SHIFT, HIGHEST_SHIFT = 1.0, 5.0
TRAIN_TIMESTEPS = 1000.0
STRETCHED_SHARE, HIGHEST_STRETCH, STRETCH_ABOVE_SIGMA = 0.2, 3.0, 0.25
END_TOKEN = 1
RENEWAL_SHARE = 0.12
_LOG_EVERY_S = 15.0
# More than there are shapes of batches.
_SHAPES = 64
_MATRIX = 2
_CLIPS_FROM = 0.3


@dataclass(frozen=True, kw_only=True)
class Course:
    """Batches of one kind: with a reference picture or not, how many clips at full size.

    ``first`` and ``last`` are its shares of the steps, at the start and from `_CLIPS_FROM` on.
    """

    kind: Kind
    reference: bool
    first: float
    last: float
    count: int

    @property
    def name(self) -> str:
        """What the log calls it."""
        return f"{self.kind.value}{'+ref' if self.reference else ''}"


COURSES = (
    Course(kind=Kind.TEXT, reference=False, first=0.27, last=0.58, count=256),
    Course(kind=Kind.PINNED, reference=True, first=0.06, last=0.11, count=192),
    Course(kind=Kind.PINNED, reference=False, first=0.09, last=0.22, count=224),
    Course(kind=Kind.STILL, reference=False, first=0.52, last=0.06, count=1024),
    Course(kind=Kind.STILL, reference=True, first=0.06, last=0.03, count=512),
)


@dataclass(kw_only=True)
class Models:
    """The trained pair and the plain transformer that shares the VACE one's modules."""

    transformer: VaceTransformer
    text_encoder: UMT5EncoderModel
    plain: PlainTransformer = field(init=False)

    def __post_init__(self) -> None:
        self.plain = plain_view(self.transformer)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield every trained parameter once."""
        yield from self.transformer.parameters()
        yield from self.text_encoder.parameters()

    def frozen_copy(self) -> Models:
        """Return an independent copy without gradients."""
        twin = Models(
            transformer=copy.deepcopy(self.transformer),
            text_encoder=copy.deepcopy(self.text_encoder),
        )
        for part in (twin.transformer, twin.text_encoder):
            part.eval().requires_grad_(requires_grad=False)
        return twin


@dataclass(frozen=True, kw_only=True)
class FlowPlan:
    """How large: a divisor for batches, seed, device, compile the blocks or not."""

    divisor: int
    seed: int
    device: torch.device
    compiled: bool


class Pool(Protocol):
    """Where batches come from."""

    def batch(
        self, kind: Kind, *, reference: bool, count: int, bucket: tuple[int, int] | None = None
    ) -> Batch:
        """Draw a batch of a random or the given bucket, with a reference picture or without."""

    def renew_some(self) -> int:
        """Replace some clips by new ones; return how many."""


class FlowTrainer:
    """Owns the optimiser, the averaged weights and the step count of one run."""

    def __init__(self, models: Models, pool: Pool, plan: FlowPlan) -> None:
        self._models, self._pool, self._plan = models, pool, plan
        self.average = models.frozen_copy()
        self._live: list[Tensor] = list(models.parameters())
        self._means: list[Tensor] = list(self.average.parameters())
        self._losses = self._losses_by(run_block)
        self._rng = np.random.default_rng(plan.seed)
        self._step = 0
        self._fresh = 0
        self._used = 0.0
        models.text_encoder.requires_grad_(requires_grad=False)
        words = models.transformer.condition_embedder.text_embedder
        plain = inner_matrices([*models.transformer.blocks, words])
        hints = inner_matrices(models.transformer.vace_blocks)
        known = {id(weight) for weight in [*plain, *hints, *models.text_encoder.parameters()]}
        self._muon, self._hint_muon = Muon(plain, WEIGHT_DECAY), Muon(hints, WEIGHT_DECAY)
        self._optimiser = torch.optim.AdamW(
            [weight for weight in self._live if id(weight) not in known],
            lr=LEARNING_RATE,
            betas=(0.9, 0.98),
            weight_decay=WEIGHT_DECAY,
            fused=True,
        )
        self.compiled = False
        if plan.compiled:
            self._try_compiled()

    def run(self, seconds: float, every_s: float, report: Callable[[str], None]) -> None:
        """Train for the seconds, calling ``report`` about every so often before the last stretch.

        The rate falls to its end within them, counting what a resumed run had used.
        """
        watch, total = Stopwatch(self._used), self._used + seconds
        begin = reported = logged = watch.seconds()
        logged_step, renewing, tally = self._step, 0.0, Tally()
        while watch.seconds() < total:
            self._used = watch.seconds()
            if renewing < RENEWAL_SHARE * (self._used - begin):
                renewing += self._renew()
            share = self._used / total
            course = COURSES[int(self._rng.choice(len(COURSES), p=shares_at(share)))]
            loss = self._train_step(course, share)
            if self._step % 10 == 0:
                tally.add(course, float(loss))
            now = watch.seconds()
            if now - logged > _LOG_EVERY_S:
                speed = (self._step - logged_step) / (now - logged)
                print(f"flow {now:6.1f} s step {self._step} {speed:.2f}/s {tally}", flush=True)
                logged, logged_step, tally = now, self._step, Tally()
            if now - reported > every_s and total - now > every_s / 2:
                report(f"step {self._step}, {now:.0f} s")
                reported = watch.seconds()
        self._used = total
        print(f"flow done: {self._step} steps", flush=True)

    def save(self, folder: Path) -> None:
        """Write weights and averages, so that `load` can go on from here; moments start anew."""
        tensors = {**indexed("live", self._live), **indexed("mean", self._means)}
        save_parts(folder, tensors, {"step": str(self._step), "used": f"{self._used:.3f}"})

    def load(self, folder: Path) -> None:
        """Continue from what `save` wrote."""
        saved, facts = load_parts(folder)
        restore("live", self._live, saved)
        restore("mean", self._means, saved)
        self._step, self._used = int(facts["step"]), float(facts["used"])

    def _renew(self) -> float:
        watch = Stopwatch()
        self._pool.renew_some()
        if self._plan.device.type == "cuda":
            torch.cuda.synchronize()
        return watch.seconds()

    def _train_step(self, course: Course, share: float) -> Tensor:
        count = max(course.count // self._plan.divisor, 2)
        batch = self._pool.batch(course.kind, reference=course.reference, count=count)
        pace = _pace(self._fresh, share)
        for group in self._optimiser.param_groups:
            group["lr"] = LEARNING_RATE * pace
        loss = self._pass(batch)
        norm = nn.utils.clip_grad_norm_(self._live, CLIP_NORM)
        # The fused optimiser skips a step whose gradients are not finite.
        broken = (~norm.isfinite()).float()
        setattr(self._optimiser, "found_inf", broken)  # noqa: B010 - undeclared
        self._optimiser.step()
        self._muon.step(MATRIX_RATE * pace, 1.0 - broken)
        if batch.control is not None:
            # Without hints their momentum is an old one, and Muon's steps never get smaller.
            self._hint_muon.step(MATRIX_RATE * pace, 1.0 - broken)
        self._step += 1
        self._fresh += 1
        self._follow(min(AVERAGE_DECAY, self._step / (self._step + 10.0)))
        return loss.detach()

    def _losses_by(self, block: Block) -> Losses:
        """Return the passes of the transformer whose blocks run this way."""
        flow = LeanFlow(self._models.transformer, block)
        weights = list(self._models.transformer.parameters())
        return Losses(partial(flow_loss, flow), weights, self._plan.device)

    def _pass(self, batch: Batch) -> Tensor:
        """Set all gradients for a batch; return the loss."""
        kind = self._plan.device.type
        tokens, lengths = _drop_text(batch.tokens, batch.lengths)
        padded = PADDED_LENGTHS[int(self._rng.integers(len(PADDED_LENGTHS)))]
        with torch.no_grad(), torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            words = encode_text(self._models.text_encoder, tokens, lengths).float()
        loss, _ = self._losses(
            batch.latents,
            words,
            pad_bias(lengths, padded),
            batch.latents.new_zeros(0) if batch.control is None else batch.control,
        )
        return loss

    def _try_compiled(self) -> None:
        watch = Stopwatch()
        try:
            self._losses = self._losses_by(_compiled_block())
            self._time_steps()
            took, each = watch.seconds(), self._time_steps()
        except Exception as error:  # noqa: BLE001 - any compiler's failure has the same cure
            print(f"compiling failed, going on without: {error!r}"[:400], flush=True)
            self._losses = self._losses_by(run_block)
            return
        self.compiled = True
        print(f"flow step: {1e3 * each:.1f} ms, compiling took {took:.0f} s", flush=True)

    def _time_steps(self) -> float:
        """Return the seconds of one forward and backward pass, averaged over all shapes."""
        passes = 0
        torch.cuda.synchronize()
        watch = Stopwatch()
        for bucket in BUCKETS:
            for course in COURSES:
                count = max(course.count // self._plan.divisor, 2)
                reference = course.reference
                batch = self._pool.batch(
                    course.kind, reference=reference, count=count, bucket=bucket
                )
                self._pass(batch)
                passes += 1
        torch.cuda.synchronize()
        return watch.seconds() / passes

    @torch.no_grad()
    def _follow(self, decay: float) -> None:
        torch._foreach_lerp_(self._means, self._live, 1.0 - decay)


def flow_loss(
    flow_of: LeanFlow, clean: Tensor, words: Tensor, bias: Tensor, control: Tensor
) -> Tensor:
    """Return the mean squared error of the predicted flow; an empty ``control`` is none."""
    device = clean.device
    sigma = draw_sigma(len(clean), device)
    noise = torch.randn_like(clean)
    wide = sigma.view(-1, 1, 1, 1, 1)
    noisy = (1.0 - wide) * draw_stretch(sigma).view_as(wide) * clean + wide * noise
    cuda = device.type == "cuda"
    with torch.autocast(device.type, torch.bfloat16, enabled=cuda, cache_enabled=False):
        bias = bias.to(torch.bfloat16 if cuda else torch.float32)
        steered = control if control.numel() else None
        flow = flow_of(noisy, sigma * TRAIN_TIMESTEPS, words, bias, steered)
    error: Tensor = (flow.float() - (noisy - clean) / wide).square().mean()
    return error


def draw_stretch(sigma: Tensor) -> Tensor:
    """Return factors for the data within noisy inputs, ``[count]``: 1, and for some above 1.

    Small ones come more often than large ones. Strong guidance overshoots at high noise; having
    seen stretched data, the model leads back.
    """
    extra = (HIGHEST_STRETCH - 1.0) * torch.rand_like(sigma).square()
    chosen = (torch.rand_like(sigma) < STRETCHED_SHARE) & (sigma > STRETCH_ABOVE_SIGMA)
    return 1.0 + extra * chosen


def draw_sigma(count: int, device: torch.device) -> Tensor:
    """Return noise levels in (0, 1), ``[count]``."""
    plain = torch.rand(count, device=device).clamp(1e-4, 1.0 - 1e-4)
    shift = LOWEST_SHIFT + (HIGHEST_SHIFT - LOWEST_SHIFT) * torch.rand(count, device=device)
    return shift * plain / (1.0 + (shift - 1.0) * plain)


def _drop_text(tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Replace some captions by the encoded empty text: the end token alone."""
    dropped = torch.rand(len(tokens), device=tokens.device) < NO_TEXT_SHARE
    empty = torch.zeros_like(tokens)
    empty[:, 0] = END_TOKEN
    kept = torch.where(dropped[:, None], empty, tokens)
    return kept, torch.where(dropped, torch.ones_like(lengths), lengths)


def shares_at(share: float) -> list[float]:
    """Return how likely each course is after this share of the time."""
    late = min(share / _CLIPS_FROM, 1.0)
    return [course.first + (course.last - course.first) * late for course in COURSES]


def inner_matrices(blocks: Iterable[nn.Module]) -> list[Tensor]:
    """Return the matrices inside modules, which `Muon` trains; all else is AdamW's."""
    return [weight for block in blocks for weight in block.parameters() if weight.dim() == _MATRIX]


def _pace(fresh: int, share: float) -> float:
    """Return the learning rate's factor; a run that goes on begins softly again."""
    warm = min(1.0, (fresh + 1) / WARM_UP_STEPS)
    return warm * (FINAL_SHARE + (1.0 - FINAL_SHARE) * (1 + math.cos(math.pi * share)) / 2)


class Tally:
    """Losses of each course between two lines of the log."""

    def __init__(self) -> None:
        self._losses: dict[str, list[float]] = {}

    def add(self, course: Course, loss: float) -> None:
        """Count a loss."""
        self._losses.setdefault(course.name, []).append(loss)

    def __str__(self) -> str:
        return " ".join(f"{name} {fmean(rows):.4f}" for name, rows in self._losses.items())


def _compiled_block() -> Block:
    """Return `run_block` compiled for each shape it meets."""
    from torch import _dynamo  # noqa: PLC0415 - costs seconds and is wanted on a GPU only

    _dynamo.config.cache_size_limit = _SHAPES
    compiled: Block = torch.compile(run_block, dynamic=False)
    return compiled
