"""Trains the image autoencoder and folds the latents' normalisation into its weights.

After folding every latent channel has mean 0 and deviation 1 over composed pictures, so the
scaling factor is 1 and no per-channel statistics are needed at inference.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as nnf
from diffusers.models.resnet import ResnetBlock2D

from tools.pocket.compose import BUCKETS, Composer, Jitter
from tools.pocket.graphed import Losses
from tools.pocket.image_data import CaptionBank
from tools.pocket.image_types import Vae
from tools.pocket.training import AveragedWeights, Budget, TrainingLog, cosine_share

KL_WEIGHT = 1e-4
GRADIENT_WEIGHT, SQUARE_WEIGHT = 0.6, 2.0
HALF_SCALE_SHARE = 0.2
FIRST_LOG_VARIANCE, RESIDUAL_GAIN = -5.0, 0.3
WILD_SHARE = 0.35
WILD = Jitter(position=0.5, size=0.7, colour=0.6)
_LR, _WEIGHT_DECAY, _DECAY, _CLIP = 1.2e-3, 1e-3, 0.998, 1.0
_TUNING_LR = 4e-4
_LOG_EVERY = 50
_STATISTICS_BATCHES = 12
_SCALES = 3


@dataclass
class VaeTrainer:
    """Fits ``vae`` to composed pictures until the budget ends."""

    vae: Vae
    composer: Composer
    bank: CaptionBank
    log: TrainingLog
    generator: torch.Generator
    batch: int

    def train(self, budget: Budget, seed: int) -> int:
        """Train, leave the averaged weights in the model, and return the number of steps."""
        initialise(self.vae)
        return self._fit(budget, seed, [self.vae], half_share=HALF_SCALE_SHARE, peak=_LR)

    def tune_decoder(self, budget: Budget, seed: int) -> int:
        """Train the decoder alone: latents stay what they are, pictures get sharper."""
        self.vae.requires_grad_(False)
        decoder = [self.vae.decoder, self.vae.post_quant_conv]
        for module in decoder:
            module.requires_grad_(True)
        return self._fit(budget, seed, decoder, half_share=0.0, peak=_TUNING_LR)

    def _fit(
        self,
        budget: Budget,
        seed: int,
        modules: list[torch.nn.Module],
        *,
        half_share: float,
        peak: float,
    ) -> int:
        chance = random.Random(seed)  # noqa: S311 - sampling, not secrecy
        device = self.composer.device
        weights = [weight for module in modules for weight in module.parameters()]
        optimizer = torch.optim.AdamW(
            weights,
            lr=peak,
            betas=(0.9, 0.99),
            weight_decay=_WEIGHT_DECAY,
            fused=device.type == "cuda",
        )
        average = AveragedWeights(modules, _DECAY)
        whole, halved = (
            Losses(partial(self._loss, half=half), weights, device) for half in (False, True)
        )
        step = 0
        while not budget.is_over or step == 0:
            for group in optimizer.param_groups:
                group["lr"] = peak * cosine_share(budget.share)
            losses = halved if chance.random() < half_share else whole
            loss, _ = losses(self.pictures(chance))
            torch.nn.utils.clip_grad_norm_(weights, _CLIP)
            optimizer.step()
            average.update()
            step += 1
            if step % _LOG_EVERY == 0:
                rate = round(step / budget.elapsed_s, 2)
                self.log.write("vae", step=step, rate=rate, loss=round(float(loss), 5))
        average.copy_into(modules)
        return step

    def pictures(self, chance: random.Random) -> torch.Tensor:
        """Return one batch of composed pictures, sometimes placed and coloured wildly."""
        width, height = chance.choices(BUCKETS, (0.7, 0.15, 0.15))[0]
        scenes = self.bank.draw(self.batch, self.generator).scenes
        jitter = WILD if chance.random() < WILD_SHARE else None
        return self.composer.draw(scenes, width, height, self.generator, jitter)

    def _loss(self, picture: torch.Tensor, half: bool) -> torch.Tensor:
        kind = self.composer.device.type
        with torch.autocast(kind, torch.bfloat16, enabled=kind == "cuda", cache_enabled=False):
            posterior = self.vae.encode(picture).latent_dist
            latents = posterior.sample()
            if half and min(latents.shape[-2:]) % 2 == 0:
                # Latents that survive scaling are smoother, and easier to denoise.
                latents = nnf.avg_pool2d(latents, 2)
                picture = nnf.avg_pool2d(picture, 2)
            drawn = self.vae.decode(latents).sample
        drawn = drawn.float()
        loss = nnf.l1_loss(drawn, picture) + SQUARE_WEIGHT * nnf.mse_loss(drawn, picture)
        loss = loss + GRADIENT_WEIGHT * gradient_loss(drawn, picture)
        divergence = _divergence(posterior.mean.float(), posterior.logvar.float())
        return loss + KL_WEIGHT * divergence


@torch.no_grad()
def initialise(vae: Vae) -> None:
    """Start so that signals pass: convolutions keep variance, residual branches start small.

    With the usual start a flat picture's colour fades on its way through the network, and the
    latent noise drowns what is left: measured on flat colours, 40 steps leave a mean error of
    0.23 instead of 0.44.
    """
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                torch.nn.init.zeros_(module.bias)
    for module in vae.modules():
        if isinstance(module, ResnetBlock2D):
            module.conv2.weight *= RESIDUAL_GAIN
    convolution = vae.quant_conv
    channels = convolution.out_channels // 2
    convolution.weight[channels:] *= 0.1
    convolution.bias[channels:] = FIRST_LOG_VARIANCE


def gradient_loss(drawn: torch.Tensor, picture: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of picture gradients over several scales."""
    total = drawn.new_zeros(())
    for _ in range(_SCALES):
        error = drawn - picture
        total = total + error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()
        drawn, picture = nnf.avg_pool2d(drawn, 2), nnf.avg_pool2d(picture, 2)
    return total / _SCALES


@torch.no_grad()
def measure_psnr(trainer: VaeTrainer, seed: int) -> float:
    """Return the PSNR in dB of encoding and decoding freshly composed pictures."""
    picture = trainer.pictures(random.Random(seed))  # noqa: S311 - sampling, not secrecy
    latents = trainer.vae.encode(picture).latent_dist.mode()
    drawn = trainer.vae.decode(latents).sample.clamp(-1, 1)
    return float(_psnr(nnf.mse_loss(drawn, picture)))


@torch.no_grad()
def fold_normalisation(trainer: VaeTrainer, seed: int) -> None:
    """Make every latent channel standard normal over composed pictures, exactly invertibly."""
    chance = random.Random(seed)  # noqa: S311 - sampling, not secrecy
    rows = []
    for _ in range(_STATISTICS_BATCHES):
        mean = trainer.vae.encode(trainer.pictures(chance)).latent_dist.mode()
        rows.append(mean.transpose(0, 1).flatten(1))
    values = torch.cat(rows, dim=1)
    centre, spread = values.mean(1), values.std(1).clamp(min=1e-4)
    before, after = trainer.vae.quant_conv, trainer.vae.post_quant_conv
    channels = centre.shape[0]
    before.weight[:channels] /= spread[:, None, None, None]
    before.bias[:channels] = (before.bias[:channels] - centre) / spread
    before.bias[channels:] -= 2 * spread.log()
    after.bias += (after.weight[:, :, 0, 0] * centre).sum(1)
    after.weight *= spread[None, :, None, None]


def _divergence(mean: torch.Tensor, logvar: torch.Tensor) -> torch.Tensor:
    return 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()


def _psnr(square: torch.Tensor) -> torch.Tensor:
    # The range of [-1, 1] is 2.
    return 10 * torch.log10(4.0 / square.detach().clamp(min=1e-10))
