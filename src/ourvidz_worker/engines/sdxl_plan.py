"""What one SDXL task will execute, decided before anything is computed."""

from dataclasses import dataclass
from pathlib import Path

from ourvidz_worker.domain.errors import BadReference, RequestError
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import ImageRequest
from ourvidz_worker.engines import Task
from ourvidz_worker.engines.native import Shape, fit_shape
from ourvidz_worker.engines.sdxl_checkpoint import Checkpoint
from ourvidz_worker.engines.sdxl_schedule import Choice, choose, executed_steps, grid
from ourvidz_worker.engines.sdxl_text import PromptTokens
from ourvidz_worker.engines.sdxl_weighting import Span, has_weights, parse_weights, unweighted

REFERENCE = "reference"
"""The role of the picture that image-to-image starts from."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every effective parameter of one task.

    `steps` is what the caller is told, `executed` how many of them run (I-1), `timesteps` the
    grid of image-to-image. `negative` is None for an absent negative prompt and when guidance
    makes one row.
    """

    request: ImageRequest
    seed: int
    reference: Path | None
    shape: Shape
    steps: int
    executed: int
    timesteps: tuple[int, ...]
    choice: Choice
    text: str
    weighted: bool
    prompt: PromptTokens
    negative: PromptTokens | None
    differences: tuple[Difference, ...]

    @property
    def guided(self) -> bool:
        """True when every step asks the UNet twice: with the prompt and without."""
        return self.request.guidance > 1.0

    @property
    def strength(self) -> float | None:
        """How far the result may leave the reference; None for text-to-image."""
        return self.request.strength if self.reference else None

    @property
    def seeds(self) -> tuple[int, ...]:
        """One seed for each picture (S-1)."""
        return tuple(self.seed + index for index in range(self.request.count))


def make_plan(task: Task, checkpoint: Checkpoint) -> Plan:
    """Plan a task. Raises `RequestError`, `InvalidPrompt` and `BadReference`."""
    request = task.request
    if not isinstance(request, ImageRequest):
        raise RequestError("This worker serves image requests alone.", field="type")
    reference = _reference(task, request)
    shape = _shape(request, checkpoint)
    strength = request.strength if reference else 1.0
    if strength is None:
        raise RequestError("A reference needs a strength.", field="config.denoise_strength")
    steps, executed = executed_steps(request.steps, strength)
    choice = choose(checkpoint.schedule, request.scheduler, planned=reference is not None)
    spans, negative_spans = _spans(request)
    texts = [spans]
    if _negative_is_encoded(request, checkpoint):
        texts.append(negative_spans or unweighted(""))
    prompt, *negative = checkpoint.text.tokenise(texts, truncate=request.allow_truncation)
    timesteps = grid(executed, strength, copy=request.mode == "copy") if reference else []
    return Plan(
        request=request,
        seed=task.seed,
        reference=reference,
        shape=shape,
        steps=steps,
        executed=executed,
        timesteps=tuple(timesteps),
        choice=choice,
        text=_text(request),
        weighted=has_weights(spans) or has_weights(negative_spans or ()),
        prompt=prompt,
        negative=negative[0] if negative else None,
        differences=(*shape.differences, *choice.differences, *_raised(request.steps, steps)),
    )


def _reference(task: Task, request: ImageRequest) -> Path | None:
    if request.reference is None:
        return None
    if REFERENCE not in task.references:
        raise BadReference(reason="REFERENCE_MISSING", field="metadata.reference_image_url")
    return task.references[REFERENCE]


def _shape(request: ImageRequest, checkpoint: Checkpoint) -> Shape:
    shape = fit_shape(checkpoint.profile.native, request.width, request.height)
    factor = checkpoint.vae.factor
    if shape.width % factor or shape.height % factor:
        raise RequestError(
            f"Width and height must be multiples of {factor}.", field="config.resolution"
        )
    return shape


def _text(request: ImageRequest) -> str:
    if request.weighting and request.weights:
        return f"{request.prompt}, {request.weights}"
    return request.prompt


def _spans(request: ImageRequest) -> tuple[tuple[Span, ...], tuple[Span, ...] | None]:
    read = parse_weights if request.weighting else unweighted
    negative = request.negative_prompt
    return read(_text(request)), None if negative is None else read(negative)


def _negative_is_encoded(request: ImageRequest, checkpoint: Checkpoint) -> bool:
    absent = request.negative_prompt is None
    return request.guidance > 1.0 and not (absent and checkpoint.zeros_for_absent)


def _raised(asked: int, steps: int) -> tuple[Difference, ...]:
    if asked == steps:
        return ()
    row = Difference(
        parameter="steps",
        requested=str(asked),
        effective=str(steps),
        reason="at least one step must run at this strength",
    )
    return (row,)
