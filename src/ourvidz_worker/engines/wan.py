"""The clip engine: Wan 2.1, text-to-video and stills, and VACE for references.

A task is planned (`begin`), then runs in stages that each use their own components: the text is
encoded, the references are encoded, the clip is denoised, then decoded frame by frame. The file
is written at last, on the CPU (`finish`). Without references the VACE blocks are never run.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import AttemptError, ImageToImageFailed, ModelLoadFailed
from ourvidz_worker.domain.messages import Description
from ourvidz_worker.engines import EngineSettings, Gate, Product, Stage, Task
from ourvidz_worker.engines.adherence import psnr, ssim
from ourvidz_worker.engines.device import (
    Compute,
    foreign_errors,
    library_versions,
    open_device,
    peak_bytes,
)
from ourvidz_worker.engines.encode import Pixels, keep_clip, keep_picture, write_thumbnail
from ourvidz_worker.engines.picture import read_reference
from ourvidz_worker.engines.previews import LatentProjection
from ourvidz_worker.engines.tensors import check_not_constant, draw_noise, seeded
from ourvidz_worker.engines.wan_checkpoint import ClipCheckpoint, load_checkpoint
from ourvidz_worker.engines.wan_conditioning import (
    PINS_FIRST,
    PINS_LAST,
    Control,
    build_control,
    pin_above,
)
from ourvidz_worker.engines.wan_denoise import ClipDenoiser, See, asked_at_blocks
from ourvidz_worker.engines.wan_plan import ClipPlan, make_plan
from ourvidz_worker.engines.wan_report import effective, facts, fed, file_metadata, notes

TEXT, REFERENCE, DENOISE, DECODE = "text", "reference", "denoise", "decode"


@dataclass(frozen=True, kw_only=True)
class ClipWork:
    """One task on its way; each stage fills in what the next one needs."""

    plan: ClipPlan
    prompt: Tensor | None = None
    negative: Tensor | None = None
    references: dict[str, Pixels] = field(default_factory=dict)
    control: Control | None = None
    latents: Tensor | None = None
    frames: Pixels | None = None


class WanEngine:
    """Runs one Wan checkpoint; the gate is asked before every block of the transformer."""

    def __init__(self, settings: EngineSettings) -> None:
        """Nothing is loaded yet."""
        self._settings = settings
        self._compute: Compute | None = None
        self._loaded: ClipCheckpoint | None = None
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
        loaded = load_checkpoint(settings.model, settings.second_model, self._compute, tell)
        tell("warm-up", 0.95)
        self._projection = LatentProjection(loaded.vae.channels)
        loaded.vae.prove(self._projection.learn)
        self._loaded = loaded

    def describe(self) -> Description:
        """The checkpoint, its components and its digest."""
        loaded, compute = self._loaded, self._compute
        details: Metadata = {}
        if loaded is not None:
            details = {"model_digest": loaded.digest, "takes_references": loaded.vace is not None}
        return Description(
            engine="wan",
            model=loaded.name if loaded else "",
            device=compute.name if compute else "",
            components=loaded.sizes() if loaded else {},
            peak_bytes=peak_bytes(compute) if compute else 0,
            details=details,
        )

    def begin(self, task: Task) -> ClipWork:
        """Plan the task. Raises `RequestError`, `InvalidPrompt`, `BadReference`."""
        with foreign_errors():
            return ClipWork(plan=make_plan(task, self._checkpoint))

    def stages(self, task: Task) -> Sequence[Stage[ClipWork]]:
        """The stages of a task; references add one."""
        plan = self.begin(task).plan
        text = Stage(name=TEXT, components=("text_encoder",), run=self._encode_text, share=0.05)
        decode = Stage(name=DECODE, components=("vae",), run=self._decode, share=0.15)
        denoise = Stage(name=DENOISE, components=("transformer",), run=self._denoise, share=0.8)
        if not plan.conditioned:
            return (text, denoise, decode)
        encode = Stage(name=REFERENCE, components=("vae",), run=self._encode_references, share=0.1)
        both = replace(denoise, components=("transformer", "vace"), share=0.7)
        return (text, encode, both, decode)

    def finish(self, work: ClipWork, spool: Path) -> Product:
        """Write the clip, or the still, and its thumbnail."""
        plan, loaded = work.plan, self._checkpoint
        if work.frames is None:
            raise AttemptError(cause="the decode stage did not run")
        told = file_metadata(plan)
        if plan.is_still:
            kept = keep_picture(spool, 0, work.frames[0], told)
        else:
            kept = keep_clip(spool, 0, work.frames, told)
        return Product(
            artifacts=(kept.artifact,),
            effective=effective(plan, loaded) | adherence(work),
            facts=facts(plan, loaded),
            fed=fed(plan),
            differences=plan.differences,
            warnings=notes(plan) + kept.warnings,
            versions=library_versions(),
        )

    def close(self) -> None:
        """Let go of the checkpoint."""
        self._loaded = None

    @property
    def _checkpoint(self) -> ClipCheckpoint:
        if self._loaded is None:
            raise ModelLoadFailed("The engine is not loaded.")
        return self._loaded

    def _encode_text(self, work: ClipWork, gate: Gate) -> ClipWork:
        plan, text = work.plan, self._checkpoint.text
        with foreign_errors(), torch.inference_mode():
            prompt, negative = text.encode(plan.prompt, plan.text_length), None
            gate.ask()
            if plan.negative is not None:
                negative = text.encode(plan.negative, plan.text_length)
        gate.step(TEXT, 1, 1)
        return replace(work, prompt=prompt, negative=negative)

    def _encode_references(self, work: ClipWork, gate: Gate) -> ClipWork:
        plan, vae = work.plan, self._checkpoint.vae
        shape = plan.shape
        references = {
            role: read_reference(path, shape.width, shape.height)
            for role, path in plan.references.items()
        }
        with foreign_errors(ImageToImageFailed), torch.inference_mode():
            tick = partial(gate.step, REFERENCE)
            control = build_control(vae, plan.mode, shape.frames, references, tick)
        strong = replace(control, scale=plan.scale, pin_above=pin_above(plan.request))
        return replace(work, references=references, control=strong)

    def _denoise(self, work: ClipWork, gate: Gate) -> ClipWork:
        plan, loaded = work.plan, self._checkpoint
        if work.prompt is None:
            raise AttemptError(cause="the text stage did not run")
        transformer = loaded.plain if work.control is None else loaded.vace
        denoiser = ClipDenoiser(
            transformer=transformer,
            prompt=work.prompt,
            negative=work.negative,
            guidance=plan.request.guidance,
            solver=plan.request.solver,
            shift=plan.request.shift,
            steps=plan.request.steps,
            control=work.control,
        )
        noise = draw_noise(self._noise_shape(work), seeded(plan.seed), work.prompt.device)
        with (
            foreign_errors(),
            torch.inference_mode(),
            asked_at_blocks(transformer, gate.ask),
        ):
            latents = denoiser.draw(noise, partial(self._watch, gate))
        return replace(work, latents=latents)

    def _decode(self, work: ClipWork, gate: Gate) -> ClipWork:
        if work.latents is None:
            raise AttemptError(cause="the denoise stage did not run")
        # A cancelled task must never pay for a decode.
        gate.ask()
        with foreign_errors(), torch.inference_mode():
            frames = self._checkpoint.vae.decode(work.latents, partial(gate.step, DECODE))
            self._projection.learn(work.latents[0, :, 0], frames[0])
        check_not_constant(frames)
        return replace(work, frames=frames)

    def _noise_shape(self, work: ClipWork) -> tuple[int, ...]:
        vae, shape = self._checkpoint.vae, work.plan.shape
        references = work.control.references if work.control else 0
        return (
            1,
            vae.channels,
            vae.latent_frames(shape.frames) + references,
            shape.height // vae.factor,
            shape.width // vae.factor,
        )

    def _watch(self, gate: Gate, step: int, steps: int, see: See) -> None:
        gate.preview(partial(self._write_preview, see), step)
        gate.step(DENOISE, step, steps)

    def _write_preview(self, see: See, path: Path) -> None:
        """The first, the middle and the last moment, side by side."""
        clean = see()
        last = clean.shape[1] - 1
        moments = sorted({0, last // 2, last})
        row = [self._projection.picture(clean[:, moment]) for moment in moments]
        write_thumbnail(path, np.concatenate(row, axis=1))


def adherence(work: ClipWork) -> Metadata:
    """How near the pinned frames are to their references."""
    plan, frames = work.plan, work.frames
    if work.control is None or frames is None:
        return {}
    told: Metadata = {}
    if plan.mode in PINS_FIRST:
        reference = work.references.get("first", work.references.get("image"))
        told |= _nearness("first", reference, frames[0])
    if plan.mode in PINS_LAST:
        told |= _nearness("last", work.references.get("last"), frames[-1])
    return told


def _nearness(name: str, reference: Pixels | None, frame: Pixels) -> Metadata:
    if reference is None:
        return {}
    return {
        f"{name}_frame_psnr_db": round(psnr(reference, frame), 3),
        f"{name}_frame_ssim": round(ssim(reference, frame), 4),
    }
