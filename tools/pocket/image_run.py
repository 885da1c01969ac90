"""The image model's whole training run: tokenizer, captions, autoencoder, denoiser, export.

Everything lands under one folder: ``model/`` (a loadable pipeline), ``state/`` (to resume),
``sheets/`` and ``log.jsonl``. A resumed run keeps the autoencoder, or goes on with an unfinished
denoiser from its averaged weights; the optimizer starts afresh.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, replace
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch
from transformers import CLIPTokenizer

from tools.pocket.compose import Composer
from tools.pocket.image_data import CaptionBank, build_bank, sample_captions, token_ids
from tools.pocket.image_export import SAMPLE_PROMPTS, assemble, export, write_sheet
from tools.pocket.image_model import (
    ImageShape,
    build_text_encoders,
    build_unet,
    build_vae,
    load_parts,
    parameter_count,
    tiny_shape,
)
from tools.pocket.image_pool import ImagePool
from tools.pocket.image_train import ImageParts, ImageTrainer
from tools.pocket.image_vae import VaeTrainer, fold_normalisation, measure_psnr
from tools.pocket.sprites import SpritePack, load_pack
from tools.pocket.tokenizer_clip import save_tokenizer, train_clip_tokenizer
from tools.pocket.training import (
    Budget,
    TrainingLog,
    load_modules,
    load_state,
    module_tensors,
    save_state,
)

_TOKENIZER_CAPTIONS = 60_000
_WARM_SPRITES, _WARM_CAPTIONS, _WARM_WAIT_S, _WARM_DIVISOR = 64, 2_000, 90.0, 128
# Kept for the last export and sheet.
_RESERVE_MINUTES, _RESERVE_SHARE = 0.4, 0.05


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What one training run is asked for."""

    data: Path
    out: Path
    minutes: float
    vae_share: float = 0.22
    publish_minutes: float = 4.0
    seed: int = 20_240
    captions: int = 400_000
    workers: int = 6
    batch: int = 512
    vae_batch: int = 64
    sprites: int = 0
    tiny: bool = False
    compiles: bool = True
    resume: bool = False
    warm: Path | None = None
    decoder_share: float = 0.08


def train_all(options: RunOptions) -> None:
    """Run every stage within ``options.minutes`` of wall-clock time."""
    budget = Budget(options.minutes)
    (options.out / "state").mkdir(parents=True, exist_ok=True)
    warmer = multiprocessing.get_context("spawn").Process(target=_warm_compiler, args=(options,))
    if options.compiles:
        warmer.start()
    (options.out / "sheets").mkdir(exist_ok=True)
    log = TrainingLog(options.out / "log.jsonl")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(options.seed)
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    pack = _sprites(options)
    tokenizer = _tokenizer(options, pack)
    bank = build_bank(pack.infos, tokenizer, options.captions, options.seed, options.workers)
    composer = Composer(pack.rgba, device)
    generator = torch.Generator(device).manual_seed(options.seed)
    parts = _parts(options, tokenizer, device)
    log.write("data", sprites=len(pack.infos), captions=bank.size, device=str(device))
    run = _Run(options, log, composer, bank.to(device), generator, tokenizer, parts)
    run.vae(budget)
    if options.compiles:
        _finish(warmer)
    reserve = min(_RESERVE_MINUTES, options.minutes * _RESERVE_SHARE)
    run.denoiser(Budget(budget.left_minutes - reserve))


def _warm_compiler(options: RunOptions) -> None:
    """Compile the denoiser in a process of its own, so that the compiler's cache knows it.

    The autoencoder trains meanwhile; the later compilation then reads from the cache.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = True
    torch.backends.cudnn.allow_tf32 = True
    pack = _sprites(replace(options, sprites=_WARM_SPRITES))
    # The vocabulary's size does not reach the denoiser, which alone is compiled.
    tokenizer = train_clip_tokenizer(sample_captions(pack.infos, _WARM_CAPTIONS, options.seed))
    bank = build_bank(pack.infos, tokenizer, _WARM_CAPTIONS, options.seed, 1).to(device)
    log = TrainingLog(options.out / "warm.jsonl")
    parts = _parts(options, tokenizer, device)
    parts.vae.requires_grad_(False).eval()
    generator = torch.Generator(device).manual_seed(options.seed)
    pool = ImagePool(Composer(pack.rgba, device), parts.vae, bank, generator, _WARM_DIVISOR)
    ImageTrainer(parts, pool, device, log, generator, options.batch, True).prepare()


def _finish(warmer: BaseProcess) -> None:
    warmer.join(_WARM_WAIT_S)
    if warmer.is_alive():
        warmer.terminate()


@dataclass
class _Run:
    options: RunOptions
    log: TrainingLog
    composer: Composer
    bank: CaptionBank
    generator: torch.Generator
    tokenizer: CLIPTokenizer
    parts: ImageParts

    def vae(self, budget: Budget) -> None:
        """Train the autoencoder, or take the one that an earlier run finished."""
        path = self.options.out / "state/vae.safetensors"
        vae = self.parts.vae
        if self.options.warm is not None:
            self._tune(budget)
        elif self.options.resume and path.exists():
            load_modules(load_state(path), vae=vae)
        else:
            minutes = self.options.minutes * self.options.vae_share
            trainer = self._vae_trainer()
            before = measure_psnr(trainer, self.options.seed)
            # The caption bank took its time from this stage's share too.
            steps = trainer.train(Budget(max(minutes - budget.elapsed_s / 60, 0)), 1)
            vae.eval()
            fold_normalisation(trainer, 2)
            after = measure_psnr(trainer, self.options.seed)
            self.log.write("vae-done", step=steps, psnr_before=before, psnr_after=after)
            save_state(path, module_tensors(vae=vae))
        vae.requires_grad_(False).eval()

    def _tune(self, budget: Budget) -> None:
        """Sharpen the decoder of a model that was trained before."""
        trainer = self._vae_trainer()
        before = measure_psnr(trainer, self.options.seed)
        minutes = self.options.minutes * self.options.decoder_share
        steps = trainer.tune_decoder(Budget(min(minutes, budget.left_minutes)), 1)
        after = measure_psnr(trainer, self.options.seed)
        self.log.write("vae-done", step=steps, psnr_before=before, psnr_after=after)

    def _vae_trainer(self) -> VaeTrainer:
        return VaeTrainer(
            self.parts.vae,
            self.composer,
            self.bank,
            self.log,
            self.generator,
            self.options.vae_batch,
        )

    def denoiser(self, budget: Budget) -> None:
        """Train denoiser and text encoders, publishing the model as it goes."""
        path = self.options.out / "state/denoiser.safetensors"
        names = {"unet": self.parts.unet, "one": self.parts.text_first}
        names["two"] = self.parts.text_second
        if self.options.resume and path.exists():
            load_modules(load_state(path), **names)
        divisor = _WARM_DIVISOR if self.options.tiny else 1
        pool = ImagePool(self.composer, self.parts.vae, self.bank, self.generator, divisor)
        trainer = ImageTrainer(
            self.parts,
            pool,
            self.composer.device,
            self.log,
            self.generator,
            self.options.batch,
            self.options.compiles,
        )

        def publish(step: int) -> None:
            export(self.parts, trainer.average, self.tokenizer, self.options.out / "model")
            self.log.write("exported", step=step)
            pipeline = assemble(self.parts, trainer.average, self.tokenizer, torch.float32)
            modules = {"unet": pipeline.unet, "one": pipeline.text_encoder}
            save_state(path, module_tensors(**modules, two=pipeline.text_encoder_2))
            sheet = self.options.out / f"sheets/step-{step:06d}.png"
            write_sheet(pipeline.to(self.composer.device), sheet, list(SAMPLE_PROMPTS))
            self.log.write("published", step=step)

        def publish_or_log(step: int) -> None:
            try:
                publish(step)
            except Exception as error:  # noqa: BLE001 - a failed sheet must not end the training
                self.log.write("publish-failed", step=step, error=repr(error)[:300])

        steps = trainer.train(budget, 3, self.options.publish_minutes, publish_or_log)
        self.log.write("done", step=steps)


def _sprites(options: RunOptions) -> SpritePack:
    pack = load_pack(options.data)
    if not options.sprites:
        return pack
    return SpritePack(pack.infos[: options.sprites], pack.rgba[: options.sprites])


def _tokenizer(options: RunOptions, pack: SpritePack) -> CLIPTokenizer:
    folder = options.out / "state/tokenizer"
    if options.warm is not None:
        known: CLIPTokenizer = CLIPTokenizer.from_pretrained(options.warm / "tokenizer")
        return known
    if options.resume and folder.exists():
        saved: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
        return saved
    captions = sample_captions(pack.infos, _TOKENIZER_CAPTIONS, options.seed)
    tokenizer = train_clip_tokenizer(captions)
    save_tokenizer(tokenizer, folder)
    return tokenizer


def _parts(options: RunOptions, tokenizer: CLIPTokenizer, device: torch.device) -> ImageParts:
    ids = (len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id)
    shape = tiny_shape(*ids) if options.tiny else _full_shape(*ids)
    first, second = build_text_encoders(shape)
    vae, unet = build_vae(shape), build_unet(shape)
    if options.warm is not None:
        parts = (vae, unet, first, second)
        for part, trained in zip(parts, load_parts(options.warm), strict=True):
            part.load_state_dict(trained.state_dict())
    millions = parameter_count(vae, unet, first, second) / 1e6
    print(f"image model: {millions:.2f} million parameters", flush=True)
    return ImageParts(
        vae=vae.to(device, memory_format=torch.channels_last),
        unet=unet.to(device, memory_format=torch.channels_last),
        text_first=first.to(device).train(),
        text_second=second.to(device).train(),
        empty_ids=token_ids(tokenizer, [""]).to(device),
    )


def _full_shape(vocab_size: int, start_id: int, end_id: int) -> ImageShape:
    return ImageShape(vocab_size=vocab_size, start_id=start_id, end_id=end_id)
