"""The fourteen job types of the contract (3.4 to 3.7): a row here is the registration."""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

import msgspec

from ourvidz_worker.domain.lane import Lane, PriorityClass


class Media(StrEnum):
    """What a job produces."""

    IMAGE = "image"
    VIDEO = "video"
    TEXT = "text"


class Family(StrEnum):
    """Which model family a job needs; `admin` needs none."""

    SDXL = "sdxl"
    WAN = "wan"
    CHAT = "chat"
    ADMIN = "admin"


class JobType(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the contract's tables; sizes in pixels, times in seconds."""

    name: str
    family: Family
    lane: Lane
    media: Media
    deadline_s: float
    priority: PriorityClass = PriorityClass.NORMAL
    steps: int = 0
    guidance: float = 0.0
    width: int = 0
    height: int = 0
    frames: int = 0
    max_tokens: int = 0
    extends_prompt: bool = False
    """True for the `_enhanced` types, whose prompt Qwen Base continues first (W-3)."""


LONG_VIDEO_FRAMES = 81
"""Clips longer than this have the long deadline."""

LONG_VIDEO_DEADLINE_S = 1500.0


def _sdxl(name: str, *, steps: int, guidance: float) -> JobType:
    return JobType(
        name=name,
        family=Family.SDXL,
        lane=Lane.IMAGE,
        media=Media.IMAGE,
        deadline_s=180.0,
        steps=steps,
        guidance=guidance,
        width=1024,
        height=1024,
    )


def _wan(name: str, media: Media, *, high: bool, extends: bool = False) -> JobType:
    still = media is Media.IMAGE
    base = 180.0 if still else 500.0
    return JobType(
        name=name,
        family=Family.WAN,
        lane=Lane.VIDEO,
        media=media,
        deadline_s=base + (120.0 if extends else 0.0),
        steps=50 if high else 25,
        guidance=7.5 if high else 6.5,
        width=480,
        height=832,
        frames=1 if still else LONG_VIDEO_FRAMES,
        extends_prompt=extends,
    )


def _chat(name: str, *, max_tokens: int) -> JobType:
    return JobType(
        name=name,
        family=Family.CHAT,
        lane=Lane.CHAT,
        media=Media.TEXT,
        deadline_s=90.0,
        priority=PriorityClass.INTERACTIVE,
        max_tokens=max_tokens,
    )


def _admin(name: str) -> JobType:
    return JobType(
        name=name,
        family=Family.ADMIN,
        lane=Lane.ADMIN,
        media=Media.TEXT,
        deadline_s=90.0,
        priority=PriorityClass.INTERACTIVE,
    )


_ROWS = (
    _sdxl("sdxl_image_fast", steps=15, guidance=6.0),
    _sdxl("sdxl_image_high", steps=25, guidance=7.5),
    _wan("image_fast", Media.IMAGE, high=False),
    _wan("image_high", Media.IMAGE, high=True),
    _wan("video_fast", Media.VIDEO, high=False),
    _wan("video_high", Media.VIDEO, high=True),
    _wan("image7b_fast_enhanced", Media.IMAGE, high=False, extends=True),
    _wan("image7b_high_enhanced", Media.IMAGE, high=True, extends=True),
    _wan("video7b_fast_enhanced", Media.VIDEO, high=False, extends=True),
    _wan("video7b_high_enhanced", Media.VIDEO, high=True, extends=True),
    _chat("chat_enhance", max_tokens=200),
    _chat("chat_conversation", max_tokens=512),
    _chat("chat_unrestricted", max_tokens=512),
    _admin("admin_utilities"),
)

JOB_TYPES: Mapping[str, JobType] = MappingProxyType({row.name: row for row in _ROWS})


def find_job_type(name: str) -> JobType | None:
    """The row of `name`, with the historic `wan_` prefix dropped (contract 3.3), or None."""
    return JOB_TYPES.get(name) or JOB_TYPES.get(name.removeprefix("wan_"))
