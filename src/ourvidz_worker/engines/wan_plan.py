"""What one Wan task will execute, decided before anything is computed."""

from dataclasses import dataclass
from pathlib import Path

from ourvidz_worker.domain.errors import BadReference, ModelLoadFailed, RequestError
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import VideoRequest
from ourvidz_worker.engines import Task
from ourvidz_worker.engines.native import Shape, fit_shape
from ourvidz_worker.engines.wan_checkpoint import ClipCheckpoint
from ourvidz_worker.engines.wan_conditioning import ROLES, Mode, mode_of, scale_of
from ourvidz_worker.engines.wan_text import ClipTokens


@dataclass(frozen=True, kw_only=True)
class ClipPlan:
    """Every effective parameter of one task.

    `text` is the prompt executed. `negative` is None where guidance makes one pass. `references`
    maps each role the mode needs to its picture; with `scale` 0 the hints are not computed at all.
    """

    request: VideoRequest
    seed: int
    shape: Shape
    mode: Mode
    scale: float
    references: dict[str, Path]
    text: str
    prompt: ClipTokens
    negative: ClipTokens | None
    text_length: int

    @property
    def is_still(self) -> bool:
        """True for one frame, which becomes a PNG."""
        return self.shape.frames == 1

    @property
    def is_shortened(self) -> bool:
        """True when what the worker had added to the prompt was cut."""
        return self.text != self.request.prompt

    @property
    def conditioned(self) -> bool:
        """True when references reach the network."""
        return self.mode is not Mode.NONE and self.scale > 0

    @property
    def differences(self) -> tuple[Difference, ...]:
        """What is executed otherwise than asked."""
        return self.shape.differences


def make_plan(task: Task, checkpoint: ClipCheckpoint) -> ClipPlan:
    """Plan a task. Raises `RequestError`, `InvalidPrompt`, `BadReference`, `ModelLoadFailed`."""
    request = task.request
    if not isinstance(request, VideoRequest):
        raise RequestError("This worker serves Wan requests alone.", field="type")
    mode, scale = mode_of(request), scale_of(request)
    if mode is not Mode.NONE and checkpoint.vace is None:
        raise ModelLoadFailed(
            "No VACE weights are set for references; let WAN_VACE_MODEL_PATH name them.",
            field="reference",
        )
    cut = request.allow_truncation
    text = request.prompt
    if request.extended_from is not None:
        text = checkpoint.text.shorten(text, request.extended_from)
    prompt, negative = checkpoint.text.tokenise(text, truncate=cut), None
    if request.guidance > 1.0:
        negative = checkpoint.text.tokenise(request.negative_prompt or "", truncate=cut)
    texts = [prompt] if negative is None else [prompt, negative]
    return ClipPlan(
        request=request,
        seed=task.seed,
        shape=_shape(request, checkpoint),
        mode=mode,
        scale=scale,
        text=text,
        references=_references(task, request, mode),
        prompt=prompt,
        negative=negative,
        text_length=checkpoint.text.padded_length(texts),
    )


def _shape(request: VideoRequest, checkpoint: ClipCheckpoint) -> Shape:
    shape = fit_shape(checkpoint.profile.native, request.width, request.height, request.frames)
    side = checkpoint.vae.factor * checkpoint.plain.config.patch_size[-1]
    if shape.width % side or shape.height % side:
        raise RequestError(
            f"Width and height must be multiples of {side}.", field="config.resolution"
        )
    if (shape.frames - 1) % checkpoint.vae.frame_factor:
        raise RequestError(
            f"Frames must be one more than a multiple of {checkpoint.vae.frame_factor}.",
            field="config.frame_num",
        )
    return shape


def _references(task: Task, request: VideoRequest, mode: Mode) -> dict[str, Path]:
    if mode in {Mode.START, Mode.END, Mode.BOTH} and request.frames == 1:
        raise BadReference(
            "A still takes one reference, as its subject.", reason="REFERENCE_UNSUPPORTED"
        )
    missing = [role for role in ROLES[mode] if role not in task.references]
    if missing:
        raise BadReference(reason="REFERENCE_MISSING", field=f"references.{missing[0]}")
    return {role: task.references[role] for role in ROLES[mode]}
