"""Announcers: the port, and what they may know of the pod (contract 8)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

Side = Literal["wan", "chat"]
"""One of the two ports: images and video, or chat."""


@dataclass(frozen=True, kw_only=True)
class PodView:
    """What decides whether a side is announced; both are asked once a second."""

    ready: Callable[[Side], bool]
    draining: Callable[[], bool]


class Announcer(Protocol):
    """Tells an application where the pod is, and keeps that true."""

    async def run(self) -> None:
        """Announce until the pod drains; nothing is taken back then (G-5)."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...
