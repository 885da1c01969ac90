"""Lanes and classes: what may run beside what, and who goes first."""

from enum import IntEnum, StrEnum


class Lane(StrEnum):
    """A family of work that waits in a line of its own; lanes never wait for each other's queue.

    Each has its own worker, but for `ADMIN`: questions about a pod, which every pod answers itself.
    """

    CHAT = "chat"
    IMAGE = "image"
    VIDEO = "video"
    ADMIN = "admin"


class PriorityClass(IntEnum):
    """Who goes first within a lane; a lower number is served first."""

    INTERACTIVE = 0
    NORMAL = 1
    BACKGROUND = 2


#: Workers start in this order (contract O-2).
START_ORDER: tuple[Lane, ...] = (Lane.IMAGE, Lane.CHAT, Lane.VIDEO)

#: Lanes without a worker: every pod serves them, whatever else it serves (contract J-2).
UNMANNED: frozenset[Lane] = frozenset(Lane) - frozenset(START_ORDER)
