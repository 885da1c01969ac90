"""Flow matching: training of the transformer and the text encoder together.

With noise e and data z, x = (1 - sigma) z + sigma e and the target is (x - z) / sigma = e - z. A
sigma is drawn uniformly and shifted, s sigma / (1 + (s - 1) sigma), with s itself drawn from 1 to
5: the sampler's shift is 5, the lower ones keep small sigmas trained. Some captions are replaced by
the empty text.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import UMT5EncoderModel

from tools.pocket.graphed import Losses
from tools.pocket.video_clock import Stopwatch
from tools.pocket.video_data import BUCKETS
from tools.pocket.video_lean import Block, LeanFlow, run_block
from tools.pocket.video_models import PADDED_LENGTHS, encode_text, pad_bias, plain_view
from tools.pocket.video_pool import Batch, Kind
from tools.pocket.video_types import PlainTransformer, VaceTransformer

LEARNING_RATE, FINAL_RATE = 1.2e-3, 1e-5
WARM_UP_STEPS = 300
WEIGHT_DECAY = 0.01
AVERAGE_DECAY = 0.9995
CLIP_NORM = 1.0
NO_TEXT_SHARE = 0.12
LOWEST_SHIFT, HIGHEST_SHIFT = 1.0, 5.0
TRAIN_TIMESTEPS = 1000.0
STRETCHED_SHARE, HIGHEST_STRETCH, STRETCH_ABOVE_SIGMA = 0.15, 1.6, 0.25
END_TOKEN = 1
RENEWAL_SHARE = 0.12
_LOG_EVERY_S = 15.0
# More than there are shapes of batches.
_SHAPES = 64
# Kind, with a reference picture, share of the steps, clips at full size.
_COURSES: tuple[tuple[Kind, bool, float, int], ...] = (
    (Kind.TEXT, False, 0.60, 256),
    (Kind.PINNED, True, 0.13, 192),
    (Kind.PINNED, False, 0.18, 224),
    (Kind.STILL, False, 0.06, 1024),
    (Kind.STILL, True, 0.03, 512),
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
        self._used = 0.0
        self._optimiser = torch.optim.AdamW(
            self._live,
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
        logged_step, renewing, sums = self._step, 0.0, {course: [0.0, 0] for course in range(5)}
        while watch.seconds() < total:
            self._used = watch.seconds()
            if renewing < RENEWAL_SHARE * (self._used - begin):
                renewing += self._renew()
            course = int(self._rng.choice(len(_COURSES), p=[row[2] for row in _COURSES]))
            loss = self._train_step(course, self._used / total)
            if self._step % 10 == 0:
                sums[course] = [sums[course][0] + float(loss), sums[course][1] + 1]
            now = watch.seconds()
            if now - logged > _LOG_EVERY_S:
                speed = (self._step - logged_step) / (now - logged)
                print(
                    f"flow {now:6.1f} s step {self._step} {speed:.2f}/s {_means(sums)}", flush=True
                )
                logged, logged_step = now, self._step
                sums = {course: [0.0, 0] for course in range(5)}
            if now - reported > every_s and total - now > every_s / 2:
                report(f"step {self._step}, {now:.0f} s")
                reported = watch.seconds()
        self._used = total
        print(f"flow done: {self._step} steps", flush=True)

    def save(self, path: Path) -> None:
        """Write weights, averages and optimiser moments, so that `load` can go on from here."""
        state = {f"step.{self._step}.{self._used:.3f}": torch.zeros(1)}
        for prefix, models in (("live", self._models), ("mean", self.average)):
            for index, parameter in enumerate(models.parameters()):
                state[f"{prefix}.{index}"] = parameter.detach().cpu().contiguous()
        for index, parameter in enumerate(self._models.parameters()):
            for name in ("exp_avg", "exp_avg_sq", "step"):
                moment = self._optimiser.state.get(parameter, {}).get(name)
                if moment is not None:
                    state[f"{name}.{index}"] = moment.detach().cpu().contiguous().clone()
        partial = path.with_suffix(".partial")
        save_file(state, partial)
        partial.replace(path)

    def load(self, path: Path) -> None:
        """Continue from what `save` wrote."""
        state = load_file(path)
        marker = next(name for name in state if name.startswith("step.") and name.count(".") > 1)
        self._step, self._used = int(marker.split(".")[1]), float(marker.split(".", 2)[2])
        for prefix, models in (("live", self._models), ("mean", self.average)):
            for index, parameter in enumerate(models.parameters()):
                with torch.no_grad():
                    parameter.copy_(state[f"{prefix}.{index}"])
        for index, parameter in enumerate(self._models.parameters()):
            if f"exp_avg.{index}" in state:
                self._optimiser.state[parameter] = {
                    name: state[f"{name}.{index}"].to(self._plan.device)
                    for name in ("exp_avg", "exp_avg_sq", "step")
                }

    def _renew(self) -> float:
        watch = Stopwatch()
        self._pool.renew_some()
        if self._plan.device.type == "cuda":
            torch.cuda.synchronize()
        return watch.seconds()

    def _train_step(self, course: int, share: float) -> Tensor:
        kind, reference, _, count = _COURSES[course]
        batch = self._pool.batch(
            kind, reference=reference, count=max(count // self._plan.divisor, 2)
        )
        for group in self._optimiser.param_groups:
            group["lr"] = _rate(self._step, share)
        loss = self._pass(batch)
        norm = nn.utils.clip_grad_norm_(self._live, CLIP_NORM)
        # The fused optimiser skips a step whose gradients are not finite.
        setattr(self._optimiser, "found_inf", (~norm.isfinite()).float())  # noqa: B010 - undeclared
        self._optimiser.step()
        self._step += 1
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
        for weight in self._models.text_encoder.parameters():
            weight.grad = None
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda"):
            words = encode_text(self._models.text_encoder, tokens, lengths).float()
        loss, gradients = self._losses(
            batch.latents,
            words,
            pad_bias(lengths, padded),
            batch.latents.new_zeros(0) if batch.control is None else batch.control,
        )
        torch.autograd.backward(words, gradients[0])
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
            for kind, reference, _, count in _COURSES:
                count = max(count // self._plan.divisor, 2)
                self._pass(self._pool.batch(kind, reference=reference, count=count, bucket=bucket))
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

    Strong guidance overshoots at high noise; having seen stretched data, the model leads back.
    """
    extra = (HIGHEST_STRETCH - 1.0) * torch.rand_like(sigma)
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


def _rate(step: int, share: float) -> float:
    warm = min(1.0, (step + 1) / WARM_UP_STEPS)
    return warm * (FINAL_RATE + (LEARNING_RATE - FINAL_RATE) * (1 + math.cos(math.pi * share)) / 2)


def _means(sums: dict[int, list[float]]) -> str:
    return " ".join(
        f"{_COURSES[course][0].value}{'+ref' if _COURSES[course][1] else ''} {total / count:.4f}"
        for course, (total, count) in sums.items()
        if count
    )


def _compiled_block() -> Block:
    """Return `run_block` compiled for each shape it meets."""
    from torch import _dynamo  # noqa: PLC0415 - costs seconds and is wanted on a GPU only

    _dynamo.config.cache_size_limit = _SHAPES
    compiled: Block = torch.compile(run_block, dynamic=False)
    return compiled
