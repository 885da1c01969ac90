"""Films clips with the worker's own clip engine, as a job would, and times them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
import numpy as np

from ourvidz_worker.domain.artifact import Metadata
from ourvidz_worker.domain.job_types import JOB_TYPES
from ourvidz_worker.domain.request import VideoRequest
from ourvidz_worker.engines import EngineSettings, Task, make_engine
from ourvidz_worker.testing.gate import RecordingGate
from tools.pocket.video_conditioning import Mode
from tools.pocket.video_judge import Clip

FAST = JOB_TYPES["video_fast"]
BUCKET, FRAMES = (96, 96), 17
# V-2: at the default strength pinned frames are written over the latents at every step; at
# strength 1 never, so that the frame is the model's own, with hints at full scale in both.
HELD, FREE = 0.2, 1.0
_ROLES: dict[Mode, tuple[str, ...]] = {
    Mode.NONE: (),
    Mode.SINGLE: ("image",),
    Mode.SUBJECT: ("image",),
    Mode.START: ("first",),
    Mode.END: ("last",),
    Mode.BOTH: ("first", "last"),
}
_REQUEST_MODES: dict[Mode, Literal["none", "single", "start", "end", "both"]] = {
    Mode.NONE: "none",
    Mode.SINGLE: "single",
    Mode.SUBJECT: "single",
    Mode.START: "start",
    Mode.END: "end",
    Mode.BOTH: "both",
}


@dataclass(frozen=True, kw_only=True)
class ClipSetting:
    """Steps, guidance and flow shift of a clip."""

    steps: int
    guidance: float
    shift: float = 5.0


DEFAULT = ClipSetting(steps=FAST.steps, guidance=FAST.guidance)
FEW = ClipSetting(steps=8, guidance=1.0)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """What to film; ``pictures`` maps the mode's roles to files."""

    prompt: str
    seed: int
    setting: ClipSetting = DEFAULT
    mode: Mode = Mode.NONE
    pictures: dict[str, Path] | None = None
    strength: float = HELD


@dataclass(frozen=True, kw_only=True)
class Filmed:
    """A clip as its file shows it, the engine's account, the seconds from request to file."""

    clip: Clip
    effective: Metadata
    cpu_s: float
    wall_s: float


class Camera:
    """One loaded engine; every clip gets a folder of its own below ``spool``."""

    def __init__(self, model: Path, spool: Path, threads: int = 1) -> None:
        """Load the model. Raises the engine's `ModelLoadFailed`."""
        self._engine = make_engine("wan", EngineSettings(model=model, threads=threads))
        self._engine.load(lambda part, fraction: None)
        self._spool = spool
        self._count = 0
        self.versions: dict[str, str] = {}

    @property
    def digest(self) -> str:
        """The digest of the model's files."""
        return str(self._engine.describe().details["model_digest"])

    def film(self, shot: Shot) -> Filmed:
        """Film a shot."""
        self._count += 1
        spool = self._spool / f"{self._count:04d}"
        spool.mkdir(parents=True)
        pictures = shot.pictures or {}
        references = {role: pictures[role] for role in _ROLES[shot.mode]}
        request = _request(shot, references)
        task = Task(request=request, seed=shot.seed, spool=spool, references=references)
        wall, cpu = time.monotonic(), time.process_time()
        gate = RecordingGate()
        work = self._engine.begin(task)
        for stage in self._engine.stages(task):
            work = stage.run(work, gate)
        product = self._engine.finish(work, spool)
        cpu_s, wall_s = time.process_time() - cpu, time.monotonic() - wall
        self.versions = product.versions
        name = product.artifacts[0].file
        if name is None:
            raise RuntimeError("The engine wrote no file.")
        clip = read_clip(spool / name)
        return Filmed(clip=clip, effective=product.effective, cpu_s=cpu_s, wall_s=wall_s)


def read_clip(path: Path) -> Clip:
    """Return a video file's frames, uint8 ``[T, H, W, 3]``."""
    with av.open(str(path)) as container:
        rows = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(rows).astype(np.uint8)


def _request(shot: Shot, references: dict[str, Path]) -> VideoRequest:
    named = {role: str(path) for role, path in references.items()}
    return VideoRequest(
        job_type=FAST.name,
        prompt=shot.prompt,
        negative_prompt=None,
        steps=shot.setting.steps,
        guidance=shot.setting.guidance,
        shift=shot.setting.shift,
        width=BUCKET[0],
        height=BUCKET[1],
        frames=FRAMES,
        mode=_REQUEST_MODES[shot.mode],
        single_mode="subject" if shot.mode is Mode.SUBJECT else "pinned",
        strength=shot.strength,
        conditioning_scale=1.0,
        first=named.get("first"),
        last=named.get("last"),
        image=named.get("image"),
    )
