"""The picture engine: any SDXL checkpoint, text-to-image and image-to-image.

A task is planned (`begin`), then runs in stages that each use their own components: the text is
encoded, the reference is encoded, the pictures are denoised one after another, then decoded.
The files are written at last, on the CPU (`finish`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ourvidz_worker.domain.errors import AttemptError, ImageToImageFailed, ModelLoadFailed
from ourvidz_worker.domain.messages import Description
from ourvidz_worker.engines import EngineSettings, Gate, Product, Stage, Task
from ourvidz_worker.engines.device import (
    Compute,
    foreign_errors,
    library_versions,
    open_device,
    peak_bytes,
)
from ourvidz_worker.engines.encode import Pixels, keep_picture, write_thumbnail
from ourvidz_worker.engines.picture import read_reference
from ourvidz_worker.engines.previews import LatentProjection
from ourvidz_worker.engines.sdxl_checkpoint import Checkpoint, load_checkpoint
from ourvidz_worker.engines.sdxl_denoise import Conditioning, Denoiser, See, condition
from ourvidz_worker.engines.sdxl_plan import Plan, make_plan
from ourvidz_worker.engines.sdxl_report import (
    effective,
    facts,
    fed,
    is_truncated,
    picture_metadata,
)
from ourvidz_worker.engines.tensors import check_not_constant

TEXT, REFERENCE, DENOISE, DECODE = "text", "reference", "denoise", "decode"
ENCODERS = ("text_encoder", "text_encoder_2")
CUT = "the prompt was cut, as the request allows"


@dataclass(frozen=True, kw_only=True)
class PictureWork:
    """One task on its way; each stage fills in what the next one needs."""

    plan: Plan
    conditioning: Conditioning | None = None
    reference: Pixels | None = None
    start: Tensor | None = None
    latents: tuple[Tensor, ...] = ()
    pictures: tuple[Pixels, ...] = ()


class SdxlEngine:
    """Runs one SDXL checkpoint; between two steps of the sampler the gate is asked."""

    def __init__(self, settings: EngineSettings) -> None:
        """Nothing is loaded yet."""
        self._settings = settings
        self._compute: Compute | None = None
        self._loaded: Checkpoint | None = None
        self._projection = LatentProjection(1)

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Load the checkpoint and decode one picture of noise. Raises `ModelLoadFailed`."""
        settings = self._settings
        self._compute = open_device(
            settings.device,
            settings.dtype,
            threads=settings.threads,
            memory_fraction=settings.memory_fraction,
        )
        checkpoint = load_checkpoint(settings.model, self._compute, tell)
        tell("warm-up", 0.9)
        self._projection = LatentProjection(checkpoint.vae.channels)
        checkpoint.vae.prove(self._projection.learn)
        self._loaded = checkpoint

    def describe(self) -> Description:
        """The checkpoint, its components and its digest."""
        loaded, compute = self._loaded, self._compute
        return Description(
            engine="sdxl",
            model=loaded.name if loaded else "",
            device=compute.name if compute else "",
            components=loaded.sizes() if loaded else {},
            peak_bytes=peak_bytes(compute) if compute else 0,
            details={"model_digest": loaded.digest} if loaded else {},
        )

    def begin(self, task: Task) -> PictureWork:
        """Plan the task. Raises `RequestError`, `InvalidPrompt`, `BadReference`."""
        with foreign_errors():
            return PictureWork(plan=make_plan(task, self._checkpoint))

    def stages(self, task: Task) -> Sequence[Stage[PictureWork]]:
        """The stages of a task; without any step to run (strength 0) only the reference is read."""
        plan = self.begin(task).plan
        read = Stage(name=REFERENCE, components=(), run=self._read_reference, share=1.0)
        if plan.executed == 0:
            return (read,)
        text = Stage(name=TEXT, components=ENCODERS, run=self._encode_text, share=0.05)
        denoise = Stage(name=DENOISE, components=("unet",), run=self._denoise, share=0.8)
        decode = Stage(name=DECODE, components=("vae",), run=self._decode, share=0.1)
        if plan.reference is None:
            return (text, replace(denoise, share=0.85), decode)
        encode = replace(read, components=("vae",), run=self._encode_reference, share=0.05)
        return (text, encode, denoise, decode)

    def finish(self, work: PictureWork, spool: Path) -> Product:
        """Write the pictures and their thumbnails."""
        plan, loaded = work.plan, self._checkpoint
        kept = [
            keep_picture(spool, index, pixels, picture_metadata(plan, index))
            for index, pixels in enumerate(work.pictures)
        ]
        beside = tuple(warning for one in kept for warning in one.warnings)
        return Product(
            artifacts=tuple(one.artifact for one in kept),
            effective=effective(plan, loaded),
            facts=facts(plan, loaded),
            fed=fed(plan) if plan.executed else {},
            differences=plan.differences,
            warnings=beside + ((CUT,) if is_truncated(plan) else ()),
            versions=library_versions(),
        )

    def close(self) -> None:
        """Let go of the checkpoint."""
        self._loaded = None

    @property
    def _checkpoint(self) -> Checkpoint:
        if self._loaded is None:
            raise ModelLoadFailed("The engine is not loaded.")
        return self._loaded

    def _encode_text(self, work: PictureWork, gate: Gate) -> PictureWork:
        plan, text = work.plan, self._checkpoint.text
        with foreign_errors(), torch.inference_mode():
            prompt, negative = text.encode(plan.prompt), None
            gate.ask()
            if plan.guided:
                negative = text.encode(plan.negative) if plan.negative else prompt.zeros()
            size = (plan.shape.width, plan.shape.height)
            conditioning = condition(prompt, negative, size, plan.request.guidance)
        gate.step(TEXT, 1, 1)
        return replace(work, conditioning=conditioning)

    def _read_reference(self, work: PictureWork, gate: Gate) -> PictureWork:
        """Strength 0: every picture is the preprocessed reference itself, losslessly (I-1)."""
        pixels = _reference_pixels(work.plan)
        gate.step(REFERENCE, 1, 1)
        return replace(work, pictures=(pixels,) * work.plan.request.count)

    def _encode_reference(self, work: PictureWork, gate: Gate) -> PictureWork:
        pixels = _reference_pixels(work.plan)
        with foreign_errors(ImageToImageFailed), torch.inference_mode():
            start = self._checkpoint.vae.encode(pixels)
        gate.step(REFERENCE, 1, 1)
        return replace(work, start=start)

    def _denoise(self, work: PictureWork, gate: Gate) -> PictureWork:
        plan, loaded = work.plan, self._checkpoint
        if work.conditioning is None:
            raise AttemptError(cause="the text stage did not run")
        denoiser = Denoiser(
            unet=loaded.unet,
            schedule=loaded.schedule,
            choice=plan.choice,
            conditioning=work.conditioning,
            steps=plan.steps,
            timesteps=plan.timesteps,
        )
        factor = loaded.vae.factor
        shape = (1, loaded.vae.channels, plan.shape.height // factor, plan.shape.width // factor)
        latents = []
        with foreign_errors(_fault(plan)), torch.inference_mode():
            for index, seed in enumerate(plan.seeds):
                watch = partial(self._watch, gate, index, len(plan.seeds))
                latents.append(denoiser.draw(shape, seed, work.start, watch))
        return replace(work, latents=tuple(latents))

    def _decode(self, work: PictureWork, gate: Gate) -> PictureWork:
        pictures = []
        for index, latents in enumerate(work.latents):
            # A cancelled task must never pay for a decode.
            gate.ask()
            with foreign_errors(_fault(work.plan)), torch.inference_mode():
                pixels = self._checkpoint.vae.decode(latents)
                self._projection.learn(latents[0], pixels)
            check_not_constant(pixels)
            pictures.append(pixels)
            gate.step(DECODE, index + 1, len(work.latents))
        return replace(work, pictures=tuple(pictures))

    def _watch(
        self,
        gate: Gate,
        picture: int,
        pictures: int,
        step: int,
        steps: int,
        see: See | None,
    ) -> None:
        done = picture * steps + step
        if see is not None:
            gate.preview(partial(self._write_preview, see), done)
        gate.step(DENOISE, done, pictures * steps)

    def _write_preview(self, see: See, path: Path) -> None:
        write_thumbnail(path, self._projection.picture(see()[0]))


def _reference_pixels(plan: Plan) -> Pixels:
    if plan.reference is None:
        raise ImageToImageFailed(cause="no reference")
    shape = plan.shape
    return read_reference(plan.reference, shape.width, shape.height, plan.request.resize_policy)


def _fault(plan: Plan) -> type[AttemptError]:
    return AttemptError if plan.reference is None else ImageToImageFailed
