"""The fake engine: every kind of request without a model, as fast or slow as its options say.

Tests, the simulations of the scheduler and the benches of the control plane use it. What it makes
is a function of request and seed; its files are real PNG and MP4 files, only small.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Lock

import msgspec
import numpy as np
from numpy.typing import NDArray

from ourvidz_worker.clock import Clock, SystemClock
from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.errors import AttemptError, ModelLoadFailed, RequestError
from ourvidz_worker.domain.messages import Description
from ourvidz_worker.domain.receipt import Difference
from ourvidz_worker.domain.request import ChatRequest, ImageRequest, VideoRequest
from ourvidz_worker.engines import EngineSettings
from ourvidz_worker.engines.base import Gate, Product, Stage, Task
from ourvidz_worker.engines.encode import (
    Kept,
    Pixels,
    keep_clip,
    keep_picture,
    measure_text,
    write_thumbnail,
)
from ourvidz_worker.engines.fake_faults import Faults, read_options
from ourvidz_worker.engines.fake_output import (
    StopFinder,
    film,
    fitted,
    ids_digest,
    paint,
    picture_key,
    prompt_words,
    spoken,
)
from ourvidz_worker.engines.fake_witness import Witness

EARLY = 0.1
"""A step that ends this share of itself before its beat counts as on it."""

SLICE_S = 0.02
"""A wait asks the gate this often."""

SHARES = {"text_encoder": 0.2, "denoiser": 0.3, "vae": 0.1, "llm": 0.4}
"""How the claimed memory is divided among the components."""

PREVIEW_SIDE = 64

NO_LATENTS = np.zeros(0, np.float32)

Picture = ImageRequest | VideoRequest


@dataclass(frozen=True, kw_only=True, eq=False)
class FakeWork:
    """One attempt so far: `latents` for a picture or clip, `text` for a chat."""

    task: Task
    latents: NDArray[np.float32]
    pictures: tuple[Pixels, ...] = ()
    text: str = ""
    tokens: int = 0
    finish_reason: str = "stop"


class FakeEngine:
    """An `Engine` for every request but an `AdminRequest`."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        pause: Callable[[float], object] | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`pause` lets seconds pass; without one they really do. Raises `ConfigError`."""
        self._options = read_options(settings.options)
        self._pause = pause or _rest
        self._clock = clock or SystemClock()
        self._faults = Faults(self._options, self._pause)
        self._witness = Witness(self._options.witness)

    def load(self, tell: Callable[[str, float], None]) -> None:
        """Take `load_s` over all components."""
        for done, part in enumerate(SHARES, start=1):
            self._pause(self._options.load_s / len(SHARES))
            if self._options.fail_load:
                raise ModelLoadFailed
            tell(part, done / len(SHARES))

    def describe(self) -> Description:
        """The claimed memory, divided among the components."""
        memory = self._options.memory_bytes
        return Description(
            engine="fake",
            model="fake",
            device="cpu",
            capacity=self._options.capacity,
            components={part: int(memory * share) for part, share in SHARES.items()},
            peak_bytes=memory,
        )

    def begin(self, task: Task) -> FakeWork:
        """Noise from the seed, none for a text. Raises `RequestError` for what needs no model."""
        self._witness.note()
        if not isinstance(task.request, ChatRequest | ImageRequest | VideoRequest):
            raise RequestError("This kind of job needs no model.", field="type")
        if isinstance(task.request, ChatRequest):
            return FakeWork(task=task, latents=NO_LATENTS)
        noise = np.random.default_rng(task.seed).standard_normal((4, 8, 8), np.float32)
        return FakeWork(task=task, latents=noise)

    def stages(self, task: Task) -> Sequence[Stage[FakeWork]]:
        """One for a text; the three usual ones for pictures and clips."""
        if isinstance(task.request, ChatRequest):
            return [Stage(name="generate", components=("llm",), run=self._speak, share=1.0)]
        return [
            Stage(name="text_encoder", components=("text_encoder",), run=self._encode, share=0.05),
            Stage(name="denoise", components=("denoiser",), run=self._denoise, share=0.9),
            Stage(name="decode", components=("vae",), run=self._decode, share=0.05),
        ]

    def finish(self, work: FakeWork, spool: Path) -> Product:
        """Real files, small unless the options allow more, or the text."""
        request = work.task.request
        if isinstance(request, ChatRequest):
            return self._told(work, request)
        if not isinstance(request, Picture):
            raise RequestError
        kept = self._files(work, request, spool)
        return Product(
            artifacts=tuple(each.artifact for each in kept),
            effective=_effective(request, work.task),
            facts={"base_seed": work.task.seed, "num_images": len(kept)},
            fed={"text_encoder": ids_digest(request.prompt.split())},
            differences=self._differences(request),
            warnings=tuple(warning for each in kept for warning in each.warnings),
            versions={"numpy": np.__version__},
        )

    def close(self) -> None:
        """Nothing is held."""

    # ---- stages -----------------------------------------------------------------------------

    def _encode(self, work: FakeWork, gate: Gate) -> FakeWork:
        gate.step("text_encoder", 1, 1)
        return work

    def _denoise(self, work: FakeWork, gate: Gate) -> FakeWork:
        request, latents = work.task.request, work.latents
        steps = request.steps if isinstance(request, Picture) else 0
        for step in range(1, steps + 1):
            self._step(step, gate)
            latents = latents * (np.nan if self._faults.damages(step) else 0.9)
            gate.preview(partial(self._preview, work.task, step), step)
            gate.step("denoise", step, steps)
        if not np.isfinite(latents).all():
            raise AttemptError("The picture came out damaged; try again.")
        return replace(work, latents=latents)

    def _decode(self, work: FakeWork, gate: Gate) -> FakeWork:
        request = work.task.request
        if not isinstance(request, Picture):
            return work
        width, height = self._size(request)
        count = request.count if isinstance(request, ImageRequest) else 1
        pictures: list[Pixels] = []
        for index in range(count):
            key = self._key(work.task, index)
            if isinstance(request, VideoRequest) and request.frames > 1:
                pictures.append(film(width, height, key, self._frames(request)))
            else:
                pictures.append(paint(width, height, key))
            gate.step("decode", index + 1, count)
        return replace(work, pictures=tuple(pictures))

    def _speak(self, work: FakeWork, gate: Gate) -> FakeWork:
        request = work.task.request
        if not isinstance(request, ChatRequest):
            return work
        most, shown, reason = request.sampling.max_tokens, [], "stop"
        finder = StopFinder(request.sampling.stop)
        words = spoken(request, work.task.seed, self._options.words)
        for token, word in enumerate(words, start=1):
            if token > most:
                reason = "length"
                break
            self._step(token, gate)
            shown.append(finder.feed(word))
            gate.text(shown[-1], token)
            gate.step("generate", token, most)
            work = replace(work, tokens=token)
            if finder.found:
                break
        shown.append(finder.rest())
        gate.text(shown[-1], work.tokens)
        return replace(work, text="".join(shown).strip(), finish_reason=reason)

    def _step(self, step: int, gate: Gate) -> None:
        """Take one step's time, and commit the faults that are due."""
        left = self._options.steps_s
        if self._options.in_step and left > 0:
            beats = self._clock.monotonic() / left
            left *= math.floor(beats + EARLY) + 1 - beats
        while left > 0:
            self._pause(min(left, SLICE_S))
            left -= SLICE_S
            gate.ask()
        self._faults.strike(step)

    def _preview(self, task: Task, step: int, path: Path) -> None:
        write_thumbnail(path, paint(PREVIEW_SIDE, PREVIEW_SIDE, self._key(task, 0), 1 / step))

    # ---- results ----------------------------------------------------------------------------

    def _files(self, work: FakeWork, request: Picture, spool: Path) -> list[Kept]:
        kept = []
        for index, pixels in enumerate(work.pictures):
            facts = _asset_facts(request, work.task, index, len(work.pictures))
            is_clip = isinstance(request, VideoRequest) and request.frames > 1
            kept.append((keep_clip if is_clip else keep_picture)(spool, index, pixels, facts))
        return kept

    def _told(self, work: FakeWork, request: ChatRequest) -> Product:
        words = prompt_words(request)
        facts: Metadata = {"tokens_generated": work.tokens, "finish_reason": work.finish_reason}
        sampling = msgspec.structs.asdict(request.sampling) | {"seed": work.task.seed}
        return Product(
            artifacts=(measure_text(0, work.text, facts),),
            effective=sampling | {"stop": " ".join(request.sampling.stop)},
            facts=facts | {"prompt_tokens": len(words)},
            fed={"llm": ids_digest(words)},
            versions={"numpy": np.__version__},
        )

    def _key(self, task: Task, index: int) -> bytes:
        if not isinstance(task.request, Picture):
            raise RequestError
        return picture_key(task.request, task.seed + index, list(task.references.values()))

    def _size(self, request: Picture) -> tuple[int, int]:
        return fitted(request.width, request.height, self._options.max_side)

    def _frames(self, request: VideoRequest) -> int:
        return min(request.frames, self._options.max_frames)

    def _differences(self, request: Picture) -> tuple[Difference, ...]:
        """What the options cut down."""
        width, height = self._size(request)
        cuts = {"size": (f"{request.width}x{request.height}", f"{width}x{height}")}
        if isinstance(request, VideoRequest):
            cuts["frames"] = (str(request.frames), str(self._frames(request)))
        reason = "the fake engine keeps its files small"
        return tuple(
            Difference(parameter=name, requested=asked, effective=made, reason=reason)
            for name, (asked, made) in cuts.items()
            if asked != made
        )


def _rest(seconds: float) -> None:
    """Let seconds pass; on a lock of its own, for one event is fought over by many threads."""
    nobody_frees = Lock()
    nobody_frees.acquire()
    nobody_frees.acquire(timeout=seconds)


def _asset_facts(request: Picture, task: Task, index: int, count: int) -> Metadata:
    """The contract's facts of one asset (7.2) that are not measured on its file."""
    facts = _effective(request, task) | {"seed": task.seed + index}
    if isinstance(request, ImageRequest):
        facts["batch_size"] = count
    return facts


def _effective(request: Picture, task: Task) -> Metadata:
    """The parameters executed, in the contract's words."""
    with_reference = bool(task.references)
    output = "img" if isinstance(request, ImageRequest) else "video"
    facts: Metadata = {
        "steps": request.steps,
        "num_inference_steps": request.steps,
        "effective_steps": request.steps,
        "guidance_scale": request.guidance,
        "pipeline": f"{'img' if with_reference else 'txt'}2{output}",
        "negative_prompt_used": bool(request.negative_prompt) and request.guidance > 1,
    }
    if isinstance(request, ImageRequest):
        facts["scheduler"] = "fake"
    else:
        facts |= {"sample_solver": request.solver, "sample_shift": request.shift}
    if with_reference:
        facts |= {"denoise_strength": request.strength, "resize_policy": "center_crop"}
    return facts
