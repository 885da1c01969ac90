"""What every training stage shares: the time budget, the log, averaged weights, safe saving."""

from __future__ import annotations

import json
import math
import os
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

WARMUP_SHARE = 0.015
FINAL_LR_SHARE = 0.01
_SECONDS = 60.0


class Budget:
    """A stretch of wall-clock time, from its creation to its end."""

    def __init__(self, minutes: float) -> None:
        self._start = time.monotonic()
        self._seconds = max(minutes * _SECONDS, 1e-3)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._start

    @property
    def left_minutes(self) -> float:
        """Minutes until the end, never negative."""
        return max(0.0, (self._seconds - self.elapsed_s) / _SECONDS)

    @property
    def share(self) -> float:
        """How much is used up, 0 to 1."""
        return min(1.0, self.elapsed_s / self._seconds)

    @property
    def is_over(self) -> bool:
        """Whether the end is reached."""
        return self.elapsed_s >= self._seconds


def cosine_share(share: float) -> float:
    """Return the learning rate's factor after ``share`` of the time: short warm-up, then cosine."""
    if share < WARMUP_SHARE:
        return max(share / WARMUP_SHARE, 0.02)
    done = (share - WARMUP_SHARE) / (1 - WARMUP_SHARE)
    return FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * 0.5 * (1 + math.cos(math.pi * done))


@dataclass
class TrainingLog:
    """Prints rows and appends them to ``path`` as JSON lines."""

    path: Path
    _start: float = field(default_factory=time.monotonic)

    def write(self, stage: str, **values: float | str) -> None:
        """Write one row with the seconds since the log's start."""
        row = {"stage": stage, "elapsed_s": round(time.monotonic() - self._start, 1), **values}
        print(json.dumps(row), flush=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


class AveragedWeights:
    """An exponential moving average of parameters, in float32."""

    def __init__(self, modules: Iterable[torch.nn.Module], decay: float) -> None:
        self._live = [weight for module in modules for weight in module.parameters()]
        self._decay = decay
        self._steps = 0
        self.values = [weight.detach().clone().float() for weight in self._live]

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the live weights; early averages forget faster."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        live = [weight.detach() for weight in self._live]
        torch._foreach_lerp_(self.values, live, 1 - decay)

    @torch.no_grad()
    def copy_into(self, modules: Iterable[torch.nn.Module]) -> None:
        """Write the average into modules of the same shapes, in the same order."""
        targets = [weight for module in modules for weight in module.parameters()]
        for target, value in zip(targets, self.values, strict=True):
            target.copy_(value)


def save_state(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Write tensors to ``path``, replacing an older file in one move."""
    partial = path.with_suffix(".partial")
    save_file({name: value.detach().contiguous().cpu() for name, value in tensors.items()}, partial)
    os.replace(partial, path)


def load_state(path: Path) -> dict[str, torch.Tensor]:
    """Read what `save_state` wrote."""
    return load_file(path)


def module_tensors(**modules: torch.nn.Module) -> dict[str, torch.Tensor]:
    """Return the parameters of named modules under ``NAME/PARAMETER`` keys."""
    return {
        f"{name}/{key}": value
        for name, module in modules.items()
        for key, value in module.named_parameters()
    }


@torch.no_grad()
def load_modules(tensors: dict[str, torch.Tensor], **modules: torch.nn.Module) -> None:
    """Write tensors saved under `module_tensors` keys back into modules."""
    for name, value in module_tensors(**modules).items():
        value.copy_(tensors[name])


def replace_files(source: Path, target: Path) -> None:
    """Move every file below ``source`` over its namesake below ``target``, then drop ``source``."""
    for path in sorted(item for item in source.rglob("*") if item.is_file()):
        destination = target / path.relative_to(source)
        destination.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, destination)
    shutil.rmtree(source)
