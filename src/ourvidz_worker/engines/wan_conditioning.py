"""How reference pictures reach a VACE transformer, for each of the five modes (contract 5).

The control is `[1, 96, T' + R, h, w]`: 16 channels of the latents of what is known ("inactive"),
16 of what is to be made ("reactive"), and the mask's 8 x 8 pixels for each latent pixel. Mask 0
keeps, 1 makes; unknown pixels are exactly 0.0 in -1..1. R reference pictures stand before the
clip as latent frames of their own, and are dropped before decoding.
"""

from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from ourvidz_worker.domain.request import VideoRequest
from ourvidz_worker.engines.encode import Pixels
from ourvidz_worker.engines.tensors import to_values
from ourvidz_worker.engines.wan_vae import ClipVae, Tick

SPATIAL = 8
TEMPORAL = 4
HEAD_FRAMES = 2
TAIL_FRAMES = 4
"""How many frames hold a pinned picture. The mask is resized in time to the nearest frame: the
first latent frame reads frame 1 and the last frame T - 2, so a single kept frame would be lost."""

MAX_SCALE_FACTOR = 1.25
"""V-2: `min(1, 1.25 (1 - denoise))`."""

PIN_ALWAYS = 0.3
"""Up to this strength a pinned frame is held to the end; above, only while sigma is larger."""


class Mode(StrEnum):
    """What the references do; `subject` is `single` without a pinned frame."""

    NONE = "none"
    SINGLE = "single"
    SUBJECT = "subject"
    START = "start"
    END = "end"
    BOTH = "both"


PINS_FIRST = frozenset({Mode.SINGLE, Mode.START, Mode.BOTH})
PINS_LAST = frozenset({Mode.END, Mode.BOTH})
HAS_SUBJECT = frozenset({Mode.SINGLE, Mode.SUBJECT})
ROLES = {
    Mode.NONE: (),
    Mode.SINGLE: ("image",),
    Mode.SUBJECT: ("image",),
    Mode.START: ("first",),
    Mode.END: ("last",),
    Mode.BOTH: ("first", "last"),
}
"""Which references each mode needs."""


def mode_of(request: VideoRequest) -> Mode:
    """The mode of a request; a still can only take its references as the subject."""
    if request.mode == "none":
        return Mode.NONE
    if request.mode == "single":
        subject = request.single_mode == "subject" or request.frames == 1
        return Mode.SUBJECT if subject else Mode.SINGLE
    return Mode(request.mode)


def scale_of(request: VideoRequest) -> float:
    """How strongly the hints act: the caller's own figure, else from the strength (V-2)."""
    if request.conditioning_scale is not None:
        return request.conditioning_scale
    return min(1.0, MAX_SCALE_FACTOR * (1.0 - request.strength))


def pin_above(request: VideoRequest) -> float:
    """Down to which sigma pinned frames are held: to the end unless much may change."""
    return 0.0 if request.strength <= PIN_ALWAYS else request.strength


@dataclass(frozen=True, kw_only=True)
class Control:
    """What a VACE transformer is told, and the latents that are held in place.

    `pinned` maps a latent frame (references counted) to its clean latents `[1, C, 1, h, w]`.
    """

    hints: Tensor
    references: int
    scale: float = 1.0
    pinned: dict[int, Tensor] = field(default_factory=dict)
    pin_above: float = 0.0


def kept_frames(mode: Mode, frames: int) -> tuple[int, ...]:
    """The pixel frames that the control clip holds and the mask keeps."""
    head = range(min(HEAD_FRAMES, frames)) if mode in PINS_FIRST else range(0)
    # In the shortest clip the first latent frame reads frame 1: the tail must leave it alone.
    begin = max(frames - TAIL_FRAMES, HEAD_FRAMES)
    tail = range(begin, frames) if mode in PINS_LAST else range(0)
    return tuple(sorted({*head, *tail}))


def latent_mask(mode: Mode, frames: int, height: int, width: int) -> Tensor:
    """The mask channels `[64, T', H / 8, W / 8]` of a mode."""
    mask = torch.ones(frames, height, width)
    mask[list(kept_frames(mode, frames))] = 0.0
    rows, columns = height // SPATIAL, width // SPATIAL
    blocks = mask.view(frames, rows, SPATIAL, columns, SPATIAL).permute(2, 4, 0, 1, 3)
    channels = blocks.reshape(1, SPATIAL * SPATIAL, frames, rows, columns)
    size = ((frames - 1) // TEMPORAL + 1, rows, columns)
    return functional.interpolate(channels, size=size, mode="nearest-exact")[0]


def control_clip(mode: Mode, frames: int, pictures: dict[str, Tensor]) -> Tensor:
    """The known pixels `[1, 3, T, H, W]`: a picture where one is kept, else 0.0.

    `pictures` maps a role to values `[1, 3, H, W]`.
    """
    any_picture = next(iter(pictures.values()))
    clip = any_picture.new_zeros(1, 3, frames, *any_picture.shape[-2:])
    head = ROLES[mode][0]
    for frame in kept_frames(mode, frames):
        at_head = mode in PINS_FIRST and frame < HEAD_FRAMES
        clip[:, :, frame] = pictures[head if at_head else "last"]
    return clip


def build_control(
    vae: ClipVae, mode: Mode, frames: int, references: dict[str, Pixels], tick: Tick
) -> Control:
    """Encode the references of a mode at full strength; `tick` counts the latent frames."""
    device = vae.module.device
    pictures = {role: to_values(p, device, torch.float32) for role, p in references.items()}
    known = control_clip(mode, frames, pictures)
    subjects = [pictures["image"]] if mode in HAS_SUBJECT else []
    latent_frames = vae.latent_frames(frames)
    total = 2 * latent_frames + len(subjects)
    inactive = vae.encode(known, partial(_tick_on, tick, 0, total))
    # What is to be made is unknown everywhere, so its pixels are grey in every mode.
    reactive = vae.encode(torch.zeros_like(known), partial(_tick_on, tick, latent_frames, total))
    mask = latent_mask(mode, frames, known.shape[-2], known.shape[-1]).to(inactive)
    hints = torch.cat([inactive, reactive, mask[None]], dim=1)
    for index, subject in enumerate(subjects):
        done = 2 * latent_frames + index
        latents = vae.encode(subject.unsqueeze(2), partial(_tick_on, tick, done, total))
        rest = latents.new_zeros(1, hints.shape[1] - latents.shape[1], *latents.shape[2:])
        hints = torch.cat([torch.cat([latents, rest], dim=1), hints], dim=2)
    return Control(
        hints=hints,
        references=len(subjects),
        pinned=_pinned(mode, inactive, len(subjects)),
    )


def _pinned(mode: Mode, inactive: Tensor, references: int) -> dict[int, Tensor]:
    """The VAE is causal: latent 0 alone gives frame 0, and is the picture's own."""
    pinned = {}
    if mode in PINS_FIRST:
        pinned[references] = inactive[:, :, :1]
    if mode in PINS_LAST:
        pinned[references + inactive.shape[2] - 1] = inactive[:, :, -1:]
    return pinned


def _tick_on(tick: Tick, before: int, total: int, done: int, _part: int) -> None:
    tick(before + done, total)
