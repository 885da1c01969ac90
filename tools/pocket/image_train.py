"""Trains the image denoiser together with its two text encoders, on latents from a pool."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as nnf

from tools.pocket.compose import BUCKETS
from tools.pocket.graphed import Losses
from tools.pocket.image_model import (
    LATENT_CHANNELS,
    TRAIN_TIMESTEPS,
    VAE_FACTOR,
    alphas_cumprod,
)
from tools.pocket.image_pool import ImagePool
from tools.pocket.image_types import PooledTextEncoder, TextEncoder, Unet, Vae
from tools.pocket.training import AveragedWeights, Budget, TrainingLog, cosine_share

# What an absent negative prompt becomes at inference: zeros; and what an empty one does.
ZERO_SHARE, EMPTY_SHARE = 0.11, 0.02
PURE_NOISE_SHARE = 0.04
# The last part of training leans on the timesteps that few-step sampling visits.
FEW_STEPS_FROM = 0.7
FEW_STEPS_SHARE = 0.4
FEW_STEP_COUNTS = (4, 5, 6)
BUCKET_SHARES = (0.7, 0.15, 0.15)
_LR, _WEIGHT_DECAY, _DECAY, _CLIP = 8e-4, 1e-2, 0.9995, 1.0
_LOG_EVERY = 50
FIRST_PUBLISH_MINUTES = 1.5
_FILL_SHARE = 0.02


@dataclass
class ImageParts:
    """All modules of the image model, and the token ids of the empty prompt ``[1, 77]``."""

    vae: Vae
    unet: Unet
    text_first: TextEncoder
    text_second: PooledTextEncoder
    empty_ids: torch.Tensor

    @property
    def trained(self) -> list[torch.nn.Module]:
        """The modules trained together: denoiser and text encoders."""
        return [self.unet, self.text_first, self.text_second]

    def encode(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return SDXL's conditioning: ``[B, 77, W1 + W2]`` and pooled ``[B, W2]``."""
        first = self.text_first(ids, output_hidden_states=True)
        second = self.text_second(ids, output_hidden_states=True)
        words = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], dim=-1)
        return words, second.text_embeds


@dataclass
class ImageTrainer:
    """Fits the denoiser and text encoders until the budget ends."""

    parts: ImageParts
    pool: ImagePool
    device: torch.device
    log: TrainingLog
    generator: torch.Generator
    batch: int
    compiles: bool

    def train(
        self, budget: Budget, seed: int, every_minutes: float, publish: Callable[[int], None]
    ) -> int:
        """Train and return the number of steps; call ``publish`` now and then and at the end.

        Before each call the averaged weights are in ``average``.
        """
        device = self.device
        chance = random.Random(seed)  # noqa: S311 - sampling, not secrecy
        weights = [weight for module in self.parts.trained for weight in module.parameters()]
        optimizer = torch.optim.AdamW(
            weights,
            lr=_LR,
            betas=(0.9, 0.99),
            weight_decay=_WEIGHT_DECAY,
            fused=device.type == "cuda",
        )
        self.average = AveragedWeights(self.parts.trained, _DECAY)
        made = self.pool.fill(Budget(budget.left_minutes * _FILL_SHARE))
        self.log.write("pool", pictures=made)
        self.prepare()
        step, logged = 0, (budget.elapsed_s, 0)
        next_publish_s = budget.elapsed_s + min(every_minutes, FIRST_PUBLISH_MINUTES) * 60
        total = torch.zeros((), device=device)
        while not budget.is_over or step == 0:
            for group in optimizer.param_groups:
                group["lr"] = _LR * cosine_share(budget.share)
            bucket = chance.choices(BUCKETS, BUCKET_SHARES)[0]
            loss = self._pass(*self.pool.draw(bucket, self.batch), bucket, budget.share)
            norm = torch.nn.utils.clip_grad_norm_(weights, _CLIP)
            optimizer.step()
            self.average.update()
            total += loss.detach()
            step += 1
            if step % _LOG_EVERY == 0:
                logged = self._report(step, budget, logged, total, norm)
            if budget.elapsed_s > next_publish_s:
                publish(step)
                next_publish_s = budget.elapsed_s + every_minutes * 60
        publish(step)
        return step

    def prepare(self) -> None:
        """Put the noise schedule on the device and, where asked for, compile the denoiser."""
        self._signal = alphas_cumprod().float().to(self.device)
        self._sizes = {
            (width, height): torch.tensor(
                [height, width, 0, 0, height, width], dtype=torch.float32, device=self.device
            ).repeat(self.batch, 1)
            for width, height in BUCKETS
        }
        self._losses = self._losses_of(self.parts.unet)
        if self.compiles:
            self._compile()

    def _report(
        self,
        step: int,
        budget: Budget,
        logged: tuple[float, int],
        total: torch.Tensor,
        norm: torch.Tensor,
    ) -> tuple[float, int]:
        loss = float(total) / (step - logged[1])
        total.zero_()
        now = budget.elapsed_s
        self.log.write(
            "denoiser",
            step=step,
            loss=round(loss, 5),
            norm=round(float(norm), 3),
            rate=round((step - logged[1]) / max(now - logged[0], 1e-6), 2),
            done=round(budget.share, 3),
            memory_gb=round(_memory_gb(), 1),
        )
        return now, step

    def _losses_of(self, unet: Unet) -> Losses:
        weights = list(self.parts.unet.parameters())
        return Losses(partial(denoiser_loss, unet), weights, self.device)

    def _pass(
        self, latents: torch.Tensor, ids: torch.Tensor, bucket: tuple[int, int], share: float
    ) -> torch.Tensor:
        """Set all gradients for a batch; return the loss."""
        device = self.device
        timesteps = self.timesteps(latents.shape[0], share)
        noise = torch.randn(latents.shape, generator=self.generator, device=device)
        signal = self._signal[timesteps][:, None, None, None]
        noisy = signal.sqrt() * latents + (1 - signal).sqrt() * noise
        target = signal.sqrt() * noise - (1 - signal).sqrt() * latents
        for module in (self.parts.text_first, self.parts.text_second):
            module.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            words, pooled = self._conditions(ids.int())
        words, pooled = words.float(), pooled.float()
        loss, gradients = self._losses(noisy, target, timesteps, words, pooled, self._sizes[bucket])
        torch.autograd.backward([words, pooled], gradients)
        return loss

    def _conditions(self, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Encode captions, a few of them replaced by the empty prompt or by zeros."""
        chance = self._uniform(ids.shape[0])
        is_zero = chance < ZERO_SHARE
        is_empty = (chance >= ZERO_SHARE) & (chance < ZERO_SHARE + EMPTY_SHARE)
        ids = torch.where(is_empty[:, None], self.parts.empty_ids.int(), ids)
        words, pooled = self.parts.encode(ids)
        kept = (~is_zero).to(words.dtype)
        return words * kept[:, None, None], pooled * kept[:, None]

    def timesteps(self, count: int, share: float) -> torch.Tensor:
        """Draw int64 timesteps ``[count]``, mostly uniform; ``share`` of training is done."""
        device = self.device
        uniform = torch.randint(TRAIN_TIMESTEPS, (count,), generator=self.generator, device=device)
        chance = self._uniform(count)
        last = torch.full_like(uniform, TRAIN_TIMESTEPS - 1)
        drawn = torch.where(chance < PURE_NOISE_SHARE, last, uniform)
        if share < FEW_STEPS_FROM:
            return drawn
        visited = torch.tensor(few_step_timesteps(), device=device)
        pick = torch.randint(len(visited), (count,), generator=self.generator, device=device)
        return torch.where(chance > 1 - FEW_STEPS_SHARE, visited[pick], drawn)

    def _uniform(self, count: int) -> torch.Tensor:
        return torch.rand((count,), generator=self.generator, device=self.device)

    def _compile(self) -> None:
        """Use a compiled denoiser, or the plain one where compiling does not work here."""
        budget = Budget(1.0)
        unet: Unet = torch.compile(self.parts.unet, dynamic=False)
        self._losses = self._losses_of(unet)
        try:
            for bucket in BUCKETS:
                self._pass(*self._noise(bucket), bucket, 0.0)
        except Exception as error:  # noqa: BLE001 - any compiler's failure has the same cure
            self.log.write("compile", failed=f"{type(error).__name__}: {error}"[:300])
            torch.compiler.reset()
            self._losses = self._losses_of(self.parts.unet)
        else:
            self.log.write("compile", seconds=round(budget.elapsed_s, 1))

    def _noise(self, bucket: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return a batch of this size that means nothing."""
        shape = (LATENT_CHANNELS, bucket[1] // VAE_FACTOR, bucket[0] // VAE_FACTOR)
        latents = torch.randn((self.batch, *shape), device=self.device)
        return latents, self.parts.empty_ids.expand(self.batch, -1)


def denoiser_loss(
    unet: Unet,
    noisy: torch.Tensor,
    target: torch.Tensor,
    timesteps: torch.Tensor,
    words: torch.Tensor,
    pooled: torch.Tensor,
    sizes: torch.Tensor,
) -> torch.Tensor:
    """Return the mean squared error of the predicted velocity."""
    kind = noisy.device.type
    with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda", cache_enabled=False):
        added = {"text_embeds": pooled, "time_ids": sizes}
        predicted = unet(noisy, timesteps, words, added_cond_kwargs=added, return_dict=False)[0]
    return nnf.mse_loss(predicted.float(), target)


def few_step_timesteps() -> list[int]:
    """Return the timesteps that sampling with few steps visits, spaced from the end."""
    return [
        round(TRAIN_TIMESTEPS - index * TRAIN_TIMESTEPS / count) - 1
        for count in FEW_STEP_COUNTS
        for index in range(count)
    ]


def _memory_gb() -> float:
    return torch.cuda.max_memory_allocated() / 1e9 if torch.cuda.is_available() else 0.0
