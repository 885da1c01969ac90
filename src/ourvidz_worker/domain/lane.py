"""Lanes and classes: what may run beside what, and who goes first."""

from enum import IntEnum, StrEnum


class Lane(StrEnum):
    """A family of work with its own worker; lanes never wait for each other's queue."""

    CHAT = "chat"
    IMAGE = "image"
    VIDEO = "video"


class PriorityClass(IntEnum):
    """Who goes first within a lane; a lower number is served first."""

    INTERACTIVE = 0
    NORMAL = 1
    BACKGROUND = 2


#: Workers start in this order (contract O-2).
START_ORDER: tuple[Lane, ...] = (Lane.IMAGE, Lane.CHAT, Lane.VIDEO)
